"""`revgnn report`: one page about runs, with pictures."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from revgnn.cli import options
from revgnn.cli.waiting import choose_waiting

Runs = Annotated[
    list[Path],
    typer.Argument(help="Folders of runs, sweeps or searches, or of any of these.", metavar="RUN...", show_default=False),
]
ReportOut = Annotated[Path | None, typer.Option(help="Folder of the report. Default: RUN/report.")]
Details = Annotated[
    int, typer.Option(min=0, help="Look into the weights of so many runs, the best first; 0: show only what was recorded.")
]
InViews = Annotated[
    list[str] | None,
    typer.Option("--views", metavar="VxP", help="Score the best run in V views of P parts, such as 10x3. Repeatable."),
]
Memory = Annotated[
    bool, typer.Option("--memory", help="Measure one training step of the best run at four depths, by gradient strategy.")
]
NoPng = Annotated[bool, typer.Option("--no-png", help="Write no PNG files.")]


def report(
    runs: Runs,
    out: ReportOut = None,
    details: Details = 1,
    views: InViews = None,
    memory: Memory = False,
    no_png: NoPng = False,
    data: options.Data = None,
    root: options.Root = None,
    node_features: options.NodeFeatures = None,
    device: options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Write one page about runs, with pictures: curves, memory, depth, calibration, confusion, how to repeat them.

    Example: revgnn report runs/a
    """
    from revgnn.experiments.run_report.report import Wishes, default_out, write_report

    wishes = Wishes(details, [_views(text) for text in views or ()], memory, root, data, node_features, device, png=not no_png)
    if details or views or memory:
        choose_waiting()
    written = write_report(runs, out or default_out(runs), wishes, lambda text: typer.echo(text, err=True))
    if as_json:
        shown = {"page": str(written.page), "runs": written.runs, "pictures": written.pictures, "notes": written.notes}
        typer.echo(json.dumps(shown, indent=2))
        return
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{'report':<12} {written.page}")
    typer.echo(f"{'pictures':<12} {len(written.pictures)} files beside it")


def report_line(folder: Path) -> str:
    """Return the command that makes a page about what was trained."""
    return f"{'report':<12} {shlex.join(['revgnn', 'report', str(folder)])}"


def _views(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text.strip())
    if match is None:
        raise ValueError(f"--views is a number of views and one of parts, such as 10x3, got {text!r}.")
    return int(match[1]), int(match[2])
