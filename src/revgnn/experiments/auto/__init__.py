"""`--preset auto`: what fits a graph, chosen by its properties and never by its name.

| file | what it has |
|---|---|
| `profile.py` | `GraphProfile`: sizes, degrees, features, labels |
| `describe.py` | the profile of a data set; needs torch |
| `rules.py` | one short function for each thing to choose, with its reason |
| `for_run.py` | the choice for the data of a run; needs torch |
| `choice.py` | `choose`: all rules together, ten lines of text |

```python
choice = choose(describe(dataset))
config = choice.for_data(DataConfig(name="graph.npz"))
```
"""
