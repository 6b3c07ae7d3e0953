"""`revgnn tune`: a few networks that are likely to fit a graph, compared by successive halving within a budget of time.

| file | what it has |
|---|---|
| `space.py` | `candidates`: what preset auto chose, and one change at a time of it |
| `halving.py` | `tune`: all candidates for a few epochs, the best third for more, the best of these to their end |
| `record.py` | tune.json: what was trained and what it scored, to resume and to show |

Halving is by stopping and resuming whole runs, which revgnn does exactly (bit for bit), so that nothing is trained twice and no
library for it is needed. Candidates are compared by their validation scores alone.
"""
