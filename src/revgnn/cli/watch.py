"""`revgnn watch`: running and finished runs in the terminal."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revgnn.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from revgnn.experiments.run_files.found import RunsReader

Folders = Annotated[
    list[Path],
    typer.Argument(help="Folders of runs, sweeps or searches, or of any of these.", metavar="RUN...", show_default=False),
]
Once = Annotated[bool, typer.Option("--once", help="Print once and end. So it is without a terminal.")]
Every = Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds from one look to the next.")]


def watch(folders: Folders, once: Once = False, every: Every = 2.0, as_json: options.AsJson = False) -> None:
    """Show how runs get on: epoch, loss, scores, time left. Ctrl-C ends it; the runs go on.

    Example: revgnn watch runs
    """
    try:
        _watch(folders, once=once, every=every, as_json=as_json)
    except KeyboardInterrupt:
        return


def _watch(folders: list[Path], *, once: bool, every: float, as_json: bool) -> None:
    from rich.console import Console

    from revgnn.experiments.run_files.found import RunsReader
    from revgnn.experiments.run_files.terminal import record, view

    reader = RunsReader(folders)
    runs = reader.read()
    if as_json:
        typer.echo(json.dumps([record(run) for run in runs], indent=2))
        return
    console = Console(highlight=False)
    if once or not sys.stdout.isatty() or (runs and all(run.state in ("finished", "failed") for run in runs)):
        console.print(view(runs, console, height=None))
        return
    _show_live(reader, console, every)


def _show_live(reader: RunsReader, console: Console, every: float) -> None:
    """Redraw until Ctrl-C."""
    from rich.live import Live

    from revgnn.experiments.run_files.terminal import view

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(view(reader.read(), console, height=console.height), refresh=True)
            time.sleep(every)
