"""The experiments of the paper (Li et al. 2021, arXiv:2106.07476) and our own: presets, tables, and what we measure for them.

A `Row` is one network of a table: its preset (name, configuration, exact number of parameters) and its published figures. It is
written once, in `catalogue`, and everything else is made from it: `revgnn presets`, `revgnn paper`, and the tests of parameter
counts.

| file or folder | what it has |
|---|---|
| `row.py` | the types: `Preset`, `Row`, `Table`, and what a table has beside its rows |
| `figures.py` | published figures: as printed, as a number, with the source |
| `catalogue/` | every preset, row and table, one file per data set |
| `presets.py`, `tables.py` | look-up by name |
| `compose.py` | the configuration of a run, from a data set, a preset or a file, and changes to it |
| `report/` | tables as JSON, as Markdown and in sentences; the page of the published tables |
| `run_files/` | runs as they lie on disk, found and read while they may be written |
| `run_report/` | the page about runs, with its pictures |
| `measure/` | our peak memory of one training step at the published size |
| `auto/`, `tune/`, `depth/`, `planner/` | what fits a graph: chosen by its properties, searched for, by depth, by memory and time |
| `training/` | training all networks of a table |

Importing this package, `report` and `run_files` included, does not import torch. `measure` and `training` need it.
"""

from revgnn.experiments.figures import Figure, Published, Source, published
from revgnn.experiments.presets import all_presets, find_preset, get_preset
from revgnn.experiments.row import Comparison, Other, Preset, Row, Table
from revgnn.experiments.tables import all_tables, get_table

__all__ = [
    "Comparison",
    "Figure",
    "Other",
    "Preset",
    "Published",
    "Row",
    "Source",
    "Table",
    "all_presets",
    "all_tables",
    "find_preset",
    "get_preset",
    "get_table",
    "published",
]
