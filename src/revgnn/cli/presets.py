"""`revgnn presets`: the runs that have a name."""

from __future__ import annotations

from typing import Annotated

import typer

from revgnn.cli.text import table


def presets(name: Annotated[str | None, typer.Argument(help="Print this preset as YAML.", show_default=False)] = None) -> None:
    """List all presets, or print one as YAML (a file for --config)."""
    from revgnn.experiments import all_presets, get_preset

    if name is not None:
        typer.echo(get_preset(name).to_yaml(), nl=False)
        return
    rows = []
    for preset in all_presets():
        run = preset.run
        family = f"{'weight-tied ' if run.model.tied else ''}{run.model.family}"
        data = run.data.name if run.data else "any"
        rows.append((preset.name, run.model.depth, run.model.channels, family, preset.parameters, data, preset.description))
    typer.echo(table(("preset", "depth", "channels", "family", "parameters", "data set", "what it is"), rows))
