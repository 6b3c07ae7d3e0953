"""`revgnn datasets`: the data sets known by name."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from revgnn.cli.options import AsJson
from revgnn.cli.text import line_width, table


def datasets(
    formats: Annotated[bool, typer.Option("--formats", help="List the formats of files and folders that can be read.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the data sets known by name, or the formats in which your own may be given by path."""
    if formats:
        _list_formats(as_json)
        return
    from revgnn.data import catalogue

    entries = [asdict(entry) for entry in catalogue()]
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    sizes = ("num_nodes", "num_edges", "num_features", "num_edge_features")
    columns = ("name", *sizes, "task", "num_outputs", "metric", "splits", "licence")
    header = [name.removeprefix("num_").replace("_", " ") for name in columns]
    typer.echo(table(header, [[entry[name] for name in columns] for entry in entries], line_width()))


def _list_formats(as_json: bool) -> None:
    from revgnn.data.readers.registry import FORMATS

    columns = ("name", "endings", "holds")
    entries = [{name: getattr(entry, name) for name in columns} for entry in FORMATS]
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    endings = [[ending for ending in entry.endings if not ending.endswith(".gz")] for entry in FORMATS]
    rows = [(entry.name, " ".join(plain) or "a folder", entry.holds) for entry, plain in zip(FORMATS, endings, strict=True)]
    typer.echo(table(columns, rows, line_width()))
