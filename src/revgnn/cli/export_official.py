"""`revgnn export-official`: a checkpoint for the code of the paper's authors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from revgnn.cli.options import AsJson, Run
from revgnn.cli.text import line_width, wrapped


def export_official(
    run: Run,
    out: Annotated[Path, typer.Option(help="The .pth file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write the best weights of a run as a checkpoint for the code of the paper's authors, by their names."""
    from revgnn.interop import export_official as write

    report = write(run, out)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"{out}: {report['tensors']} tensors, weights of epoch {report['epoch']}")
    arguments = "arguments: " + " ".join(f"--{name} {value}" for name, value in report["args"].items())
    typer.echo(wrapped(arguments, line_width(), "  "))
