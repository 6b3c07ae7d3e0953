"""`revgnn config`: every setting of a run, what it may be, its default, and what it does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from revgnn.cli.options import AsJson
from revgnn.cli.text import line_width, table, wrapped

if TYPE_CHECKING:
    from revgnn.train.config.reference import Setting


def config(
    key: Annotated[
        str | None, typer.Argument(help="A setting, such as model.depth, or a section, such as optim.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page of the documentation.")] = False,
) -> None:
    """List the settings that --set KEY=VALUE changes, or explain one.

    Examples: revgnn config; revgnn config optim; revgnn config model.depth
    """
    from revgnn.train.config.reference import all_run_settings, find_settings

    settings = all_run_settings() if key is None else find_settings(key)
    if as_json:
        typer.echo(json.dumps([asdict(setting) for setting in settings], indent=2))
    elif markdown:
        typer.echo(page(settings), nl=False)
    elif key is not None and len(settings) == 1:
        typer.echo(explained(settings[0]))
    else:
        typer.echo(
            table(("setting", "default", "values"), [(s.key, s.default, shortened(s.values)) for s in settings], line_width())
        )
        typer.echo("\nrevgnn config KEY explains one; --set KEY=VALUE changes it.")


def explained(setting: Setting) -> str:
    """Return one setting in a few lines."""
    defaults = [setting.default or "none: it must be given", *(f"{value} ({family})" for family, value in setting.others.items())]
    width = line_width()
    lines = [wrapped(f"{setting.key}: {setting.description}", width, "  ")]
    lines += [
        wrapped(f"{name:<8} {text}", width, " " * 9)
        for name, text in (("values", setting.values), ("default", "; ".join(defaults)))
    ]
    if setting.families:
        lines.append(f"families {', '.join(setting.families)}")
    lines.append(f"resuming {'may be changed' if setting.free else 'must stay the same'}")
    return "\n".join(lines)


def shortened(values: str, width: int = 44) -> str:
    return values if len(values) <= width else values[: width - 4].rpartition(",")[0] + ", ..."


def page(settings: Iterable[Setting]) -> str:
    """Return docs/settings.md."""
    rows = []
    for setting in settings:
        others = "".join(f"; {family}: `{value}`" for family, value in setting.others.items())
        default = (f"`{setting.default}`" if setting.default else "none") + others
        families = f" Only {', '.join(setting.families)}." if setting.families else ""
        description = setting.description.replace("|", "\\|")
        rows.append(f"| `{setting.key}` | {setting.values} | {default} | {description}{families} |")
    return "\n".join([_INTRODUCTION, *rows, ""])


_INTRODUCTION = """# Settings

All settings of a run, from the descriptions in the code: `revgnn config --markdown` prints this page, and
`revgnn config KEY` explains one. `--set KEY=VALUE` changes a setting on the command line; a preset or a file for
`--config` has them as YAML. "Only" names the families of networks (`model.family`) that have a setting. Which
convolutions have it is said in brackets.

| setting | values | default | what it does |
|---|---|---|---|"""
