"""revgnn in Python: `fit` trains on a graph in memory or in files, `plan` says what that needs, `load` opens a trained run.

| file | what it has |
|---|---|
| `training.py` | `fit` |
| `planning.py` | `plan` |
| `run.py` | `Run` and `load` |
| `place.py` | data in memory as files that readers know |
| `frames.py` | tables of pandas, polars and others |
| `other_graph.py` | another graph, as the network takes it |
| `progress.py` | a progress bar |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revgnn._lazy import lazy_names

if TYPE_CHECKING:
    from revgnn.api.planning import Planned, plan
    from revgnn.api.run import Run, load
    from revgnn.api.training import fit

__all__ = ["Planned", "Run", "fit", "load", "plan"]

_HOMES = {"revgnn.api.planning": ("Planned", "plan"), "revgnn.api.training": ("fit",), "revgnn.api.run": ("Run", "load")}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
