"""The published tables, and our figures beside them.

`get_table("table2").row("RevGNN-64")` is a row; `revgnn.experiments.paper.report` sets it beside ours, and `revgnn.experiments.paper.measure` (which needs
torch) measures the memory of its training step.
"""

from revgnn.experiments.paper.report import list_tables, measure_rows, row_record, table_record
from revgnn.experiments.paper.rows import Published, Row, Table
from revgnn.experiments.paper.tables import get_table, tables

__all__ = ["Published", "Row", "Table", "get_table", "list_tables", "measure_rows", "row_record", "table_record", "tables"]
