"""`revgnn depth`: what more layers gain on a graph, each depth with a learning rate and dropout of its own.

| file | what it has |
|---|---|
| `plan.py` | `Plan`: families, depths, candidates, splits, seeds; the run of each |
| `study.py` | `study`: choose by validation scores, then train every split and seed, within a budget; resumable |
| `choosing.py` | the choice for one family and depth, by the halving of `revgnn tune`, on data without test labels |
| `record.py` | depth.json: everything that is known of a study, from which tables and pages are made |
| `statistics.py` | intervals, paired differences, Holm's correction |
| `reasons.py`, `influence.py`, `states.py` | what the weights make of distance, by depth; what the graph is like |
| `verdict.py` | what follows, in a sentence |

`plan.py`, `statistics.py` and `verdict.py` do not import torch.
"""
