"""The `revgnn` command: its subcommands and the options before them."""

from __future__ import annotations

from typing import Annotated

import typer

from revgnn._version import __version__
from revgnn.cli import (
    config,
    correlate,
    datasets,
    depth,
    evaluate,
    export_official,
    import_official,
    paper,
    plan,
    predict,
    presets,
    report,
    train,
    tune,
    verify,
    watch,
)
from revgnn.cli.errors import Commands

app = typer.Typer(
    cls=Commands,
    help="Train very deep graph neural networks in memory that does not grow with depth.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("correlate")(correlate.correlate)
app.command("datasets")(datasets.datasets)
app.command("presets")(presets.presets)
app.command("config")(config.config)
app.command("tune")(tune.tune)
app.command("depth")(depth.depth)
app.command("plan")(plan.plan)
app.command("report")(report.report)
app.command("watch")(watch.watch)
app.command("paper")(paper.paper)
app.command("verify")(verify.verify)
app.command("import-official")(import_official.import_official)
app.command("export-official")(export_official.export_official)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"revgnn {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
