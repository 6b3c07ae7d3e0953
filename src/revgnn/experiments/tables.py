"""Look-up of tables by name."""

from __future__ import annotations

from revgnn.experiments.catalogue import arxiv, human_proteins, products, proteins
from revgnn.experiments.row import Table, normalized
from revgnn.train.config.errors import ConfigError, did_you_mean

_TABLES = (*proteins.TABLES, *arxiv.TABLES, *products.TABLES, human_proteins.TABLE)


def all_tables() -> tuple[Table, ...]:
    """Return every table: those of the paper in its order, then our own."""
    return _TABLES


def get_table(name: str) -> Table:
    """Return the table with this name.

    Raises:
        ConfigError: if there is none, with the nearest names.
    """
    by_name = {normalized(table.name): table for table in all_tables()}
    found = by_name.get(normalized(name))
    if found is None:
        hint = did_you_mean(name, by_name) or f"; there are {', '.join(by_name)}."
        raise ConfigError(f"unknown table {name!r}{hint}")
    return found
