"""`revgnn plan`: what a run needs on a data set and a device, before anything runs.

| file | what it has |
|---|---|
| `size.py` | the sizes of a data set and of a batch |
| `rehearse.py` | a training step and an evaluation on tensors without memory: what they would allocate |
| `memory.py` | the memory at any depth, from rehearsals of a few layers |
| `probe.py` | a few timed steps of a few layers |
| `cost.py` | seconds at any depth, width and number of parts, from the probe |
| `plan.py` | `Plan` and `Planner`: memory and time of a run, and whether they fit |
| `search.py` | the deepest, the widest, the fewest parts that fit |
| `for_run.py` | from the configuration of a run to its planner |
"""
