"""`revgnn bench`: ours beside the peers'."""

from __future__ import annotations

from typing import Annotated, Any

import typer

SETTINGS: dict[str, Any] = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Each benchmark has options of its own, and its own --help: they are handed on as they come."""


def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Benchmark to run, or all.", show_default=False)] = None,
) -> None:
    """Measure speed and memory here, beside plain torch and PyTorch Geometric; without a name, list what can be measured.

    Results are checked first: what is wrong is not timed. `revgnn bench NAME --help` shows the options of one. Ctrl-C keeps what
    was measured until then.

    Example: revgnn bench step --channels 64 --groups 2 --depth 7
    """
    from benchmarks.registry import BENCHMARKS, available, main_of

    if name is None or name in ("-h", "--help"):
        typer.echo(context.get_help())
        width = max(map(len, BENCHMARKS))
        typer.echo("\n" + "\n".join(f"  {known.ljust(width)}  {BENCHMARKS[known].about}" for known in available()))
        return
    codes = [main_of(chosen)(context.args) for chosen in (available() if name == "all" else [name])]
    if any(codes):
        raise typer.Exit(max(codes))
