"""A run on several processes: what each needs, what it sends, and how long a step takes, for each way of spreading.

| file | what it has |
|---|---|
| `job.py` | how many processes, and the link between them |
| `shares.py` | a graph cut over processes: nodes, edges, and rows that are fetched, by a real graph or by its size |
| `imagined.py` | one process of several that are not there |
| `rehearse.py` | a step of one process, rehearsed: by parts, by graph |
| `stages.py` | a step of one stage of a pipeline, rehearsed |
| `weights.py` | the memory of a step whose weights are cut over processes |
| `clock.py` | seconds of a step by what they are spent on |
| `spread_plan.py` | `SpreadPlan`: all of it together |
| `plan.py` | `SpreadPlanner`: makes plans, and finds the fewest processes that fit |
"""
