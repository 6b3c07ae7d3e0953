"""`revgnn verify`: check this installation on its own device."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from revgnn.cli.options import AsJson
from revgnn.cli.phases import phases
from revgnn.cli.text import flow, line_width, seconds_text, wrapped
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from rich.console import Console

    from revgnn.testing.verify import Finding

FAILED = 1
"""Exit code if a check fails."""

NARROW = 110
"""Characters that the table of checks needs."""

VerifyDevice = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or one of several, such as cuda:1. auto: cuda if there is such a device.")
]


def verify(device: VerifyDevice = "auto", as_json: AsJson = False) -> None:
    """Check kernels, exactness at depth, memory and threads on this machine. Exit code 1 if a check fails."""
    choose_waiting()
    # The check that is running; the table comes at the end.
    with phases() as say:
        say("loading PyTorch")
        from revgnn.testing.verify import checked_device
        from revgnn.testing.verify import verify as run_checks
        from revgnn.train.run.environment import describe

        chosen = checked_device(device)
        environment = describe(chosen)
        findings = list(run_checks(chosen, on_start=lambda check: say(f"checking {check.name}")))
    if as_json:
        typer.echo(
            json.dumps({"torch_device": str(chosen), **environment, "checks": [asdict(found) for found in findings]}, indent=2)
        )
    else:
        versions = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
        width = line_width()
        typer.echo(wrapped(f"{versions}, Python {environment['python']}, {environment['platform']}", width, "  "))
        typer.echo(wrapped(f"{chosen}: {environment['device']}, {environment['threads']} threads", width, "  "))
        from rich.console import Console

        print_table(findings, Console(highlight=False, width=width or 180))  # a file has lines of any length
    failed = sum(found.status == "FAILED" for found in findings)
    if failed:
        typer.echo(f"error: {failed} of {len(findings)} checks failed.", err=True)
        sys.exit(FAILED)


def print_table(findings: list[Finding], console: Console) -> None:
    """Print a row for each check, then what is wrong and what to do about it."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "compared"):
        table.add_column(column, overflow="fold")
    for column in ("off by", "allowed", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for found in findings:
        cells = (found.name, found.compared, found.worst, found.allowed, seconds_text(found.seconds))
        table.add_row(*map(Text, cells), Text(found.status, _style(found)))
    if console.width < NARROW:
        print_paragraphs(findings, console)
    else:
        console.print(table)
    for found in findings:
        if found.message:
            message = wrapped(f"{found.name}: {found.message}", line_width(), "  ")
            console.print(Text(message, "red" if found.status == "FAILED" else ""), soft_wrap=True)


def print_paragraphs(findings: list[Finding], console: Console) -> None:
    """Print what is checked, how it ended and its figures below one another."""
    from rich.text import Text

    for found in findings:
        style = _style(found)
        console.print(Text.assemble((f"{found.status:<8}", style), found.name))
        console.print(Text(wrapped(f"        {found.compared}", console.width, " " * 8)), soft_wrap=True)
        figures = (f"off by {found.worst.strip()}", f"allowed {found.allowed.strip()}", seconds_text(found.seconds))
        console.print(Text(flow(figures, console.width, start=" " * 8, indent=" " * 8)), soft_wrap=True)


def _style(found: Finding) -> str:
    return {"ok": "green", "FAILED": "bold red"}.get(found.status, "yellow")
