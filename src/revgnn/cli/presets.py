"""`revgnn presets`: the runs that have a name."""

from __future__ import annotations

from typing import Annotated

import typer

from revgnn.cli.text import table


def presets(name: Annotated[str | None, typer.Argument(help="Print this preset as YAML.", show_default=False)] = None) -> None:
    """List all presets, or print one as YAML (a file for --config), with its notes as comments."""
    from revgnn.experiments import all_presets, find_preset
    from revgnn.experiments.compose import AUTO
    from revgnn.experiments.report.page import preset_yaml

    if name is not None:
        typer.echo(preset_yaml(find_preset(name)), nl=False)
        return
    rows = []
    for preset in all_presets():
        run = preset.run
        family = f"{'weight-tied ' if run.model.tied else ''}{run.model.family}"
        data = run.data.name if run.data else "any"
        if preset.name == AUTO:  # it depends on the data
            rows.append((preset.name, None, None, "by the graph", None, data, preset.description))
            continue
        rows.append((preset.name, run.model.depth, run.model.channels, family, preset.parameters, data, preset.description))
    typer.echo(table(("preset", "depth", "channels", "family", "parameters", "data set", "what it is"), rows))
