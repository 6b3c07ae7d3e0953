"""The published tables as a page of Markdown, and a preset as YAML, both with the notes of the presets."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from revgnn.experiments.presets import all_presets
from revgnn.experiments.report.markdown import bullets, markdown_table, prose
from revgnn.experiments.report.records import comparison_text, mark, row_record, table_record
from revgnn.experiments.row import Preset, Table
from revgnn.experiments.tables import all_tables

_COLUMNS = (
    *("model", "layers", "channels", "groups", "views", "parts", "our parameters"),
    *("parameters", "{metric}", "validation", "days", "GB", "source", "preset"),
)

_INTRODUCTION = (
    "Written by `revgnn paper --markdown`. Figures are as printed, scores in percent; those marked * are second-hand: known only "
    "from notes and code of others that list them. `revgnn paper TABLE` prints one table, `--measure memory` adds our memory, "
    "`--train` trains its networks."
)

_JSON = (
    "`revgnn paper --json` prints all tables, `revgnn paper TABLE --json` one. A table has `rows` (networks with a preset), "
    "`others` (networks of others) and `comparisons` (figures about two rows). A row lists each published figure under "
    "`figures`: `figure` (its name), `printed` (as printed), `value` (as a number; scores in [0, 1]), `source`, `source_row` "
    "and `second_hand`. `published` has the same numbers by name; null stands for a figure that is not published."
)


_DIFFERENCES = (
    "`revgnn presets NAME` prints the notes of one preset as comments above its settings. Aggregations that the authors' code "
    "computes otherwise, such as its power mean, are in no preset; [models.md](models.md) names them."
)


def paper_markdown() -> str:
    """Return the page of all tables with published figures, and of the presets' notes."""
    published = [table for table in all_tables() if any(row.published.figures for row in table.rows)]
    blocks = ["# The paper's tables", prose(_INTRODUCTION), prose(_JSON)]
    for table in published:
        blocks += _section(table)
    blocks += ["## Differences from the authors' code, and what the paper leaves open"]
    blocks += [prose(_DIFFERENCES)]
    blocks += [f"{prose(note)}\n\n{prose(f'Presets: {names}.')}" for note, names in _notes().items()]
    return "\n\n".join(blocks) + "\n"


def preset_yaml(preset: Preset) -> str:
    """Return all settings of a preset as YAML, with description, number of parameters and notes as comments above them."""
    parameters = "" if preset.parameters is None else f" {preset.parameters:,} parameters."
    paragraphs = [f"{preset.description}{parameters}", *(f"- {note}" for note in preset.notes)]
    lines = [line for text in paragraphs for line in wrap(text, 116, subsequent_indent="  " if text.startswith("-") else "")]
    comments = "".join(f"# {line}\n" for line in lines)
    return comments + preset.run.to_yaml()


def _notes() -> dict[str, str]:
    """Return every note, with the presets that have it."""
    names: dict[str, list[str]] = {}
    for preset in all_presets():
        for note in preset.notes:
            names.setdefault(note, []).append(f"`{preset.name}`")
    return {note: ", ".join(presets) for note, presets in names.items()}


def _section(table: Table) -> list[str]:
    record = table_record(table, [row_record(row) for row in table.rows])
    header = [column.format(metric=table.metric) for column in _COLUMNS]
    cells = [_cells(row) for row in (*record["rows"], *record["others"])]
    used = [i for i in range(len(header)) if any(row[i] for row in cells)]
    blocks = [f"## {table.name}: {table.title}", prose(f"Source: {table.source}.")]
    blocks += [markdown_table([header[i] for i in used], [[row[i] or "-" for i in used] for row in cells])]
    if record["comparisons"]:
        blocks += [bullets([comparison_text(comparison) for comparison in record["comparisons"]])]
    return blocks if not table.notes else [*blocks, bullets(table.notes)]


def _cells(record: dict[str, Any]) -> list[str]:
    """Return the cells of a row or of a network of others; empty where there is nothing."""
    shape = [record.get(name) for name in ("layers", "channels", "groups", "views", "parts", "parameters")]
    figures = {figure["figure"]: figure for figure in record["figures"]}
    sources = dict.fromkeys(figure["source"] for figure in record["figures"])
    return [
        record["name"],
        *("" if number is None else f"{number:,}" for number in shape),
        *(
            _printed(figures, name) + mark(record, name)
            for name in ("parameters", "score", "valid_score", "train_days", "memory_gb")
        ),
        "; ".join(sources),
        f"`{record['preset']}`" if "preset" in record else "",
    ]


def _printed(figures: dict[str, dict[str, Any]], name: str) -> str:
    """Return a figure as printed, with its deviation."""
    if name not in figures:
        return ""
    deviation = figures.get(f"{name}_std")
    return figures[name]["printed"] + ("" if deviation is None else f" ± {deviation['printed']}")
