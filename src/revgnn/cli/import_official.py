"""`revgnn import-official`: a run folder from a checkpoint of the paper's authors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from revgnn.cli.options import AsJson, Root, Settings
from revgnn.cli.text import line_width, wrapped


def import_official(
    file: Annotated[Path, typer.Argument(help="A .pth file of the authors' RevGNN or RevGAT.")],
    out: Annotated[Path, typer.Option(help="Folder of the run to write, new or empty.")],
    preset: Annotated[
        str | None, typer.Option(help="Name of a preset (revgnn presets) that has the settings which the file leaves open.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Name or path of the data set. Default: that of the preset, or ogbn-proteins or ogbn-arxiv.")
    ] = None,
    settings: Settings = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Make a run folder, for revgnn predict and evaluate, of a checkpoint of the paper's authors.

    Example: revgnn import-official revgnn_deep.pth --preset revgnn-deep --out runs/deep
    """
    from revgnn.experiments import get_preset
    from revgnn.interop import import_official as read
    from revgnn.train.config.dotted import read_assignment

    base = None if preset is None else get_preset(preset)
    report = read(file, out, base=base, data=data, root=root, settings=dict(map(read_assignment, settings or ())))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    known, given = ({key.removeprefix("model."): value for key, value in report[name].items()} for name in ("from_file", "given"))
    lines = [f"{out}: {report['parameters']:,} parameters, weights of epoch {report['epoch']}, for {report['data']}"]
    lines.append("from the file: " + ", ".join(f"{key}={value}" for key, value in known.items()))
    lines.append("given:         " + ", ".join(f"{key}={value}" for key, value in given.items()))
    for line in lines:
        typer.echo(wrapped(line, line_width(), "  "))
