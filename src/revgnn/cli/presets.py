"""`revgnn presets`: the runs that have a name."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from revgnn.cli.options import AsJson
from revgnn.cli.text import line_width, table


def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset as YAML.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List all presets, or print one as YAML (a file for --config), with its notes as comments."""
    from revgnn.experiments import all_presets, find_preset
    from revgnn.experiments.compose import AUTO
    from revgnn.experiments.report.page import preset_yaml

    if name is not None:
        preset = find_preset(name)
        if as_json:
            record = {"name": preset.name, "notes": preset.notes, "config": preset.run.model_dump(mode="json")}
            typer.echo(json.dumps(record, indent=2))
        else:
            typer.echo(preset_yaml(preset), nl=False)
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
    header = ("preset", "depth", "channels", "family", "parameters", "data set", "what it is")
    if as_json:
        keys = ("name", *(name.replace(" ", "_") for name in header[1:-1]), "description")
        typer.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
    else:
        typer.echo(table(header, rows, line_width()))
