"""The published tables as data: Li et al. 2021, "Training Graph Neural Networks with 1000 Layers" (arXiv:2106.07476).

Figures are as printed. One that is None was printed for another row, or could not be checked against a public source. Each row
names the preset that is the same network under the same training protocol. The figures of each data set lie in a file of their own
in `revgnn.experiments.paper.published`.
"""

from __future__ import annotations

from revgnn.experiments.paper import human_proteins
from revgnn.experiments.paper.published import arxiv, products, proteins
from revgnn.experiments.paper.rows import Table, plain
from revgnn.train.config.errors import ConfigError, did_you_mean

_TABLES = (*proteins.TABLES, *arxiv.TABLES, *products.TABLES, human_proteins.TABLE)


def tables() -> tuple[Table, ...]:
    """Every table: those of the paper in its order, then our own."""
    return _TABLES


def get_table(name: str) -> Table:
    """The table of that name.

    Raises:
        ConfigError: if there is none, with the nearest names.
    """
    by_name = {plain(table.name): table for table in tables()}
    found = by_name.get(plain(name))
    if found is None:
        hint = did_you_mean(name, by_name) or f"; there are {', '.join(by_name)}."
        raise ConfigError(f"unknown table {name!r}{hint}")
    return found
