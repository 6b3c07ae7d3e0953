"""`revgnn verify`: check this installation on its own device."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from revgnn.cli.options import AsJson
from revgnn.cli.text import seconds_text
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from rich.console import Console

    from revgnn.testing.verify import Finding

FAILED = 1
"""Exit code if a check fails."""

VerifyDevice = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or one of several, such as cuda:1. auto: cuda if there is such a device.")
]


def verify(device: VerifyDevice = "auto", as_json: AsJson = False) -> None:
    """Check kernels, exactness at depth, memory and threads on this machine. Exit code 1 if a check fails."""
    from rich.console import Console

    choose_waiting()
    from revgnn.testing.verify import checked_device
    from revgnn.testing.verify import verify as run_checks
    from revgnn.train.run.environment import describe

    chosen = checked_device(device)
    environment = describe(chosen)
    console = Console(highlight=False)
    # In a terminal, the check that is running; the table comes at the end.
    with console.status("", spinner="dots") if console.is_terminal and not as_json else _Silent() as status:
        findings = list(run_checks(chosen, on_start=lambda check: status.update(f"{check.name}: {check.compared}")))
    if as_json:
        typer.echo(
            json.dumps({"torch_device": str(chosen), **environment, "checks": [asdict(found) for found in findings]}, indent=2)
        )
    else:
        versions = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
        typer.echo(f"{versions}, Python {environment['python']}, {environment['platform']}")
        typer.echo(f"{chosen}: {environment['device']}, {environment['threads']} threads")
        print_table(findings, console)
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
        style = {"ok": "green", "FAILED": "bold red"}.get(found.status, "yellow")
        cells = (found.name, found.compared, found.worst, found.allowed, seconds_text(found.seconds))
        table.add_row(*map(Text, cells), Text(found.status, style))
    if not console.is_terminal:
        console.width = max(console.width, 180)  # a file has lines of any length
    console.print(table)
    for found in findings:
        if found.message:
            console.print(Text(f"{found.name}: {found.message}", "red" if found.status == "FAILED" else ""), soft_wrap=True)


class _Silent:
    """Stands in for the live line where there is no terminal."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, status: str) -> None:
        pass
