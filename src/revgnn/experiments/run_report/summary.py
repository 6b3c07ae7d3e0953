"""The parts of the page that are no pictures: figures at the top, the table of runs, how to repeat them, machines and versions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from revgnn._text import LONGEST_NAME, bytes_text, clean, score_text, seconds_text
from revgnn.experiments.run_files.metrics import number
from revgnn.experiments.run_files.reading import RunOnDisk
from revgnn.experiments.run_report.compared import (
    MOST_SETTINGS,
    best_first,
    comparable,
    data_name,
    differing,
    groups,
    short_names,
    value_text,
)
from revgnn.experiments.run_report.markup import element
from revgnn.experiments.run_report.page import Cell, Section, code, facts, folded, table, tiles
from revgnn.experiments.run_report.pictures.words import metric_text, plural

MOST_ROWS = 1000
"""Runs in the table; of more, the best by validation score."""

_STATES = {
    "finished": "finished",
    "running": "still running",
    "stopped": "stopped before its end",
    "waiting": "not begun",
    "failed": "could not be trained",
}


def lead_of_one(run: RunOnDisk) -> list[Markup]:
    """Return what stands at the top of the page of one run."""
    config, result = run.config, run.result or {}
    about = f"Data: {data_name(run)}."
    if config is not None:
        model = config.model
        extent = "" if model.family == "equilibrium" else f", {model.depth} layers"
        about += f" Network: {model.family}{extent} of {model.channels} channels, {model.conv} convolution, "
        about += f"gradients by {model.effective_gradient}."
    best = run.best
    state = _STATES[run.state] + (" by patience" if result.get("stopped") == "patience" else "")
    boxes = [("state", state, "" if config is None else f"{len(run.epochs):,} of {config.epochs:,} epochs")]
    metric = metric_text(run.metric)
    if run.score("valid") is not None:
        boxes.append(("best validation", score_text(run.score("valid")), f"{metric}, epoch {best['epoch'] if best else '–'}"))
    if run.score("test") is not None:
        boxes.append(("test", score_text(run.score("test")), "with the same weights"))
    if run.peak_bytes is not None:
        boxes.append(("peak memory", bytes_text(run.peak_bytes), "above weights and data"))
    if run.epoch_seconds is not None:
        boxes.append(("time an epoch", seconds_text(run.epoch_seconds), "with evaluation"))
    if (parameters := number(result, "parameters")) is not None:
        boxes.append(("parameters", f"{parameters:,.0f}", ""))
    lead = [element("p", about, class_="soft"), tiles(boxes)]
    return lead if run.problem is None else [*lead, element("p", run.problem, class_="problem")]


def lead_of_many(runs: Sequence[RunOnDisk]) -> list[Markup]:
    """Return what stands at the top of the page of several runs."""
    counts = [(state, sum(run.state == state for run in runs)) for state in _STATES]
    boxes = [("runs", f"{len(runs):,}", ", ".join(f"{n:,} {_STATES[state]}" for state, n in counts if n))]
    alike = comparable(runs)
    if alike:
        best = best_first(alike)[0]
        metric = metric_text(best.metric)
        boxes.append(("best validation", score_text(best.score("valid")), f"{metric}: {clean(best.name, 60)}"))
        if best.score("test") is not None:
            boxes.append(("its test", score_text(best.score("test")), "with the same weights"))
    sizes = [run.peak_bytes for run in runs if run.peak_bytes]
    if sizes:
        boxes.append(("peak memory", bytes_text(min(sizes)), f"to {bytes_text(max(sizes))}"))
    lead = [tiles(boxes)]
    if len(alike) < len(runs) and alike:
        text = f"Scores are compared for {plural(len(alike), 'run')} on {data_name(alike[0])}; the table has all."
        lead.append(element("p", text, class_="soft"))
    return lead


def runs_section(runs: Sequence[RunOnDisk]) -> Section:
    """Return the table of all runs, and of groups that differ in more than seed and split."""
    ranked = best_first(runs)
    keys = differing(runs)
    short = short_names(keys[:MOST_SETTINGS])
    several_data = len({run.data for run in runs}) > 1
    has_states = len({run.state for run in runs}) > 1
    header = [("run", False), ("valid", True), ("test", True), *([("data", False)] if several_data else [])]
    header += [(short[k], _is_number(runs, k)) for k in short]
    header += [("peak memory", True), ("time/epoch", True), ("epochs", True), ("best", True), ("train", True), ("parameters", True)]
    header += [("state", False)] if has_states else []
    rows = [_row(run, list(short), header)[: len(header)] for run in ranked[:MOST_ROWS]]
    body = [table(header, rows, "All runs", best=0 if ranked[0].score("valid") is not None else None)]
    notes = []
    if len(ranked) > MOST_ROWS:
        notes.append(f"The best {MOST_ROWS:,} of {len(ranked):,} runs by validation score.")
    if len(keys) > MOST_SETTINGS:
        notes.append(f"Runs also differ in: {', '.join(keys[MOST_SETTINGS:])}.")
    body += [element("p", note, class_="soft") for note in notes]
    body += [element("p", f"{run.name}: {run.problem}", class_="problem") for run in runs[:MOST_ROWS] if run.problem]
    found = groups(comparable(runs))
    if any(len(group.runs) > 1 for group in found):
        body += [element("h3", "Means over seeds and splits"), _groups_table(runs)]
    return Section("Runs", body)


def repeat_section(runs: Sequence[RunOnDisk]) -> Section:
    """Return the commands that repeat the runs, and the configuration of one."""
    shown = best_first(runs)[:3]
    lines = []
    for run in shown:
        folder = str(run.path)
        lines.append(shlex.join(["revgnn", "train", "--config", f"{folder}/config.yaml", "--out", f"{folder}-again"]))
        lines.append(shlex.join(["revgnn", "evaluate", folder]))
    text = "The same configuration gives the same weights and scores on the same machine, with the same versions and threads."
    if len(runs) > len(shown):
        text += f" Here for the best {len(shown)} of {len(runs):,} runs."
    body = [element("p", text), code("\n".join(clean(line) for line in lines))]
    body += [
        folded(f"Configuration of {clean(run.name, 60)}", code(run.config.to_yaml())) for run in shown[:1] if run.config is not None
    ]
    return Section("How to repeat it", body)


def machine_section(runs: Sequence[RunOnDisk]) -> Section | None:
    """Return machines and versions, each once; None if no run says."""
    each = [run.environment for run in runs if run.environment is not None]
    if not each:
        return None
    distinct: list[dict[str, str]] = []
    for environment in each:
        values = environment_facts(environment)
        if values not in distinct:
            distinct.append(values)
    body = [facts(distinct[0].items())]
    for values in distinct[1:5]:
        body.append(element("p", "Other runs were made elsewhere, and differ in:"))
        body.append(facts((name, text) for name, text in values.items() if distinct[0].get(name) != text))
    dates = sorted({clean(e["date"], 20) for e in each if isinstance(e.get("date"), str)})
    if dates:
        text = f"Begun on {dates[0]}." if len(dates) == 1 else f"Begun from {dates[0]} to {dates[-1]}."
        body.insert(0, element("p", text))
    if len(distinct) > 5:
        body.append(element("p", f"{len(distinct) - 5} more machines or versions are not shown.", class_="soft"))
    return Section("Machine and versions", body)


def _row(run: RunOnDisk, keys: list[str], header: list[tuple[str, bool]]) -> list[Cell]:
    """Return the cells of a run; the last, its state, has a column only if runs differ in it."""
    settings, best = run.settings, run.best
    cells = [Cell(clean(run.name, LONGEST_NAME)), _score(run, "valid"), _score(run, "test")]
    if ("data", False) in header:
        cells.append(Cell(data_name(run)))
    for key, (_, is_number) in zip(keys, header[len(cells) :], strict=False):
        value = settings.get(key)
        cells.append(Cell(value_text(value), float(value) if is_number and value is not None else None))
    parameters = number(run.result or {}, "parameters")
    return [
        *cells,
        Cell("–" if run.peak_bytes is None else bytes_text(run.peak_bytes), run.peak_bytes),
        Cell("–" if run.epoch_seconds is None else seconds_text(run.epoch_seconds), run.epoch_seconds),
        Cell(f"{len(run.epochs):,}", len(run.epochs)),
        Cell("–") if best is None else Cell(f"{best['epoch']:,}", best["epoch"]),
        _score(run, "train"),
        Cell("–" if parameters is None else f"{parameters:,.0f}", parameters),
        Cell(run.state),
    ]


def _score(run: RunOnDisk, part: str) -> Cell:
    score = run.score(part)
    return Cell("–" if score is None else score_text(score), score)


def _groups_table(runs: Sequence[RunOnDisk]) -> Markup:
    header = [("settings", False), ("runs", True), ("valid", True), ("±", True), ("test", True), ("±", True)]
    rows = []
    for group in groups(comparable(runs))[:MOST_ROWS]:
        values = [value for part in ("valid", "test") for value in (group.mean(part), group.deviation(part))]
        cells = [Cell("–" if value is None else score_text(value), value) for value in values]
        rows.append([Cell(clean(group.name, LONGEST_NAME)), Cell(str(len(group.runs)), len(group.runs)), *cells])
    return table(header, rows, "Means over seeds and splits")


def _is_number(runs: Sequence[RunOnDisk], key: str) -> bool:
    """Return whether all runs that have a setting have a number for it."""
    values = [value for run in runs if (value := run.settings.get(key)) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def environment_facts(environment: dict[str, Any]) -> dict[str, str]:
    """Return what an environment says, ready to be shown; its texts are bounded."""
    names = {"device": "device", "cpu_count": "CPU cores", "threads": "threads", "omp_wait_policy": "OMP_WAIT_POLICY"}
    names |= {"platform": "system", "python": "Python", "commit": "commit of revgnn"}
    found = {label: clean(environment[key], LONGEST_NAME) for key, label in names.items() if environment.get(key) is not None}
    packages = environment.get("packages")
    if isinstance(packages, dict):
        found |= {clean(name, 40): clean(version, 40) for name, version in list(packages.items())[:40]}
    return found
