"""`revgnn datasets`: the data sets known by name."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from revgnn.cli.options import AsJson
from revgnn.cli.text import table


def datasets(as_json: AsJson = False) -> None:
    """List the data sets known by name. Your own .npz files, and folders in OGB's raw layout, are given by path."""
    from revgnn.data import catalogue

    entries = [asdict(entry) for entry in catalogue()]
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    sizes = ("num_nodes", "num_edges", "num_features", "num_edge_features")
    columns = ("name", *sizes, "task", "num_outputs", "metric", "splits", "licence")
    header = [name.removeprefix("num_").replace("_", " ") for name in columns]
    typer.echo(table(header, [[entry[name] for name in columns] for entry in entries]))
