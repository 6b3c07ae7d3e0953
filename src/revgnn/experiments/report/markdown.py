"""A trained table as a page of Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from revgnn.train.config import RunConfig

_COLUMNS = (
    *("model", "layers", "channels", "groups", "parameters", "published parameters"),
    *("test", "published test", "peak MB", "published GB", "s/epoch"),
)

_ALWAYS_SHOWN = ("data.name", "epochs", "parts", "optim.lr", "evaluation.parts", "evaluation.views")
"""Keys of the protocol that the page shows even if they have their default."""

_LINE_LENGTH = 120


def table_markdown(record: dict[str, Any]) -> str:
    """Return the page: networks, scores by views and parts, what the figures say, protocol, machine, notes.

    Args:
        record: from `revgnn.experiments.training.trained_table.trained_table_record`.
    """
    rows = record["rows"]
    networks = [rows_of_network[0] for rows_of_network in _by_network(rows)]
    blocks = [f"# {record['title']}", _prose(f"Source: {record['source']}. {_origin(record)}"), _networks_table(networks)]
    blocks += [_views_table(viewed) for viewed in _by_network([row for row in rows if row["views"] is not None])]
    if record["findings"]:
        blocks += ["## What the figures say", _bullets(record["findings"])]
    blocks += ["## Protocol", _prose(_protocol(record["protocol"], networks))]
    if record["environments"]:
        blocks += ["## Machine", _bullets([_environment(e) for e in record["environments"]])]
    if record["notes"]:
        blocks += ["## Notes", _bullets(record["notes"])]
    return "\n\n".join(blocks) + "\n"


def _origin(record: dict[str, Any]) -> str:
    dates = record["dates"]
    when = ""
    if dates:
        when = f", trained on {dates[0]}" if len(dates) == 1 else f", trained from {dates[0]} to {dates[-1]}"
    networks = {row["preset"]: row["result"] is not None for row in record["rows"]}
    share = "" if all(networks.values()) else f" So far {sum(networks.values())} of its {len(networks)} networks are trained."
    return f"Made by `{record['command']}`{when}.{share}"


# --- tables -------------------------------------------------------------------------------------------------------------


def _networks_table(networks: list[dict[str, Any]]) -> str:
    """Return the table of all networks, without columns that no network has a figure in."""
    metric = next((row["result"]["metric"] for row in networks if row["result"]), None)
    cells = [_cells(row) for row in networks]
    used = [i for i in range(len(_COLUMNS)) if any(row[i] for row in cells)]
    names = [f"test {metric}" if _COLUMNS[i] == "test" and metric else _COLUMNS[i] for i in used]
    table = _table(names, [[row[i] or "-" for i in used] for row in cells])
    legend = _legend(networks)
    return f"{table}\n\n{_prose(legend)}" if legend else table


def _cells(row: dict[str, Any]) -> tuple[str | None, ...]:
    result, published = row["result"], row["published"]
    parameters = result["parameters"] if result else row["parameters"]
    score = published["score"] if row["views"] is None else None  # scores by views have a table of their own
    gigabytes = published["memory_gb"] and f"{published['memory_gb']:.2f}"
    if published["out_of_memory_gb"] is not None:
        gigabytes = f"> {published['out_of_memory_gb']:.0f}"
    return (
        row["network"],
        row["layers"] and f"{row['layers']:,}",
        f"{row['channels']:,}",
        f"{row['groups']}",
        f"{parameters:,}",
        published["parameters"],
        _mean_and_std(result["test"]) if result else row["failed"],
        score and _mean_and_std({"mean": score, "std": published["score_std"]}),
        f"{result['peak_bytes'] / 1e6:.1f}" if result else None,
        gigabytes,
        f"{result['seconds_per_epoch']:.2f}" if result and result["seconds_per_epoch"] is not None else None,
    )


def _legend(networks: list[dict[str, Any]]) -> str:
    results = [row["result"] for row in networks if row["result"]]
    if not results:
        return ""
    seeds = max((r["seeds"] for r in results), key=len)
    spread = f"mean ± deviation over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"of seed {seeds[0]}"
    return (
        f"Scores are {spread}, with the weights of the epoch with the best validation score. Peak MB (10^6 bytes): of tensors "
        f"allocated in the first training epoch, above weights and data, on {results[0]['device']}. s/epoch: median, "
        "without evaluation."
    )


def _by_network(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    presets = dict.fromkeys(row["preset"] for row in rows)
    return [[row for row in rows if row["preset"] == preset] for preset in presets]


def _views_table(rows: list[dict[str, Any]]) -> str:
    """Return the scores of one network: a line per number of views, a column per number of parts."""
    parts = sorted({row["parts"] for row in rows})
    lines = []
    for views in sorted({row["views"] for row in rows}):
        by_parts = {row["parts"]: row for row in rows if row["views"] == views}
        lines.append([str(views), *(_view_cell(by_parts.get(count)) for count in parts)])
    header = ["views", *("whole graph" if count == 1 else f"{count} parts" for count in parts)]
    return f"## {rows[0]['network']} in several views\n\n{_table(header, lines)}"


def _view_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    ours = "-" if row["multi_view"] is None else _mean_and_std(row["multi_view"]["test"])
    published = row["published"]
    if published["score"] is None:
        return ours
    return f"{ours} (published {_mean_and_std({'mean': published['score'], 'std': published['score_std']})})"


def _mean_and_std(score: dict[str, float | None]) -> str:
    if score["mean"] is None:
        return "-"
    return f"{score['mean']:.4f}" + ("" if score["std"] is None else f" ± {score['std']:.4f}")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


# --- text ---------------------------------------------------------------------------------------------------------------


def _protocol(shared: dict[str, Any], networks: list[dict[str, Any]]) -> str:
    """Return the shared settings that differ from the defaults of a run."""
    defaults = RunConfig().flat()
    shown = {k: v for k, v in shared.items() if k in _ALWAYS_SHOWN or (v is not None and v != defaults.get(k))}
    settings = ", ".join(f"`{key}={_value(value)}`" for key, value in shown.items())
    presets = ", ".join(f"`{row['preset']}`" for row in networks)
    return (
        f"Common to all networks: {settings}; what is not listed is the default of a run, or differs between them. "
        f"`revgnn presets NAME` prints all settings of one: {presets}."
    )


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _environment(environment: dict[str, Any]) -> str:
    packages = environment["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("revgnn", "torch", "numba", "triton") if name in packages)
    commit = f" (commit {environment['commit']})" if environment["commit"] else ""
    return (
        f"{environment['device']}, {environment['cpu_count']} cores, {environment['threads']} threads; {environment['platform']}; "
        f"Python {environment['python']}, {versions}{commit}."
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_prose(line, indent='  ')}" for line in lines)


def _prose(text: str, indent: str = "") -> str:
    """Return a paragraph in lines of at most 120 characters, the first one without the indent. Code is not broken into lines."""
    lines: list[str] = []
    for word in re.findall(r"(?:`[^`]*`|\S)+", text):
        if lines and len(indent) + len(lines[-1]) + 1 + len(word) <= _LINE_LENGTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return f"\n{indent}".join(lines)
