"""The experiments of the paper (Li et al. 2021, arXiv:2106.07476) and our own: presets, tables, and what we measure for them.

A `Row` is one network of a table: its preset (name, configuration, exact number of parameters) and its published figures. It is
written once, in `catalogue`, and everything else is made from it: `revgnn presets`, `revgnn paper`, and the tests of parameter
counts.

| file or folder | what it has |
|---|---|
| `row.py` | the types: `Preset`, `Published`, `Row`, `Table` |
| `catalogue/` | every preset, row and table, one file per data set |
| `presets.py`, `tables.py` | look-up by name |
| `compose.py` | the configuration of a run, from a data set, a preset or a file, and changes to it |
| `report/` | tables as JSON, as Markdown and in sentences |
| `measure/` | our peak memory of one training step at the published size |
| `training/` | training all networks of a table |

Importing this package, `report` included, does not import torch. `measure` and `training` need it.
"""

from revgnn.experiments.presets import all_presets, get_preset
from revgnn.experiments.row import Preset, Published, Row, Table
from revgnn.experiments.tables import all_tables, get_table

__all__ = ["Preset", "Published", "Row", "Table", "all_presets", "all_tables", "get_preset", "get_table"]
