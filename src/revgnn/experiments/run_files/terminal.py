"""How `revgnn watch` draws runs: one in lines, several in a table that fits 60 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from revgnn._text import bytes_text, clean, score_text, seconds_text, shorten
from revgnn.experiments.run_files.metrics import column, number
from revgnn.experiments.run_files.reading import RunOnDisk, State

_ORDER: tuple[State, ...] = ("running", "waiting", "stopped", "failed", "finished")
_STYLES = {"running": "bold green", "waiting": "dim", "stopped": "yellow", "failed": "red", "finished": "blue"}
_LEVELS = "▁▂▃▄▅▆▇█"


def view(runs: Sequence[RunOnDisk], console: Console, *, height: int | None) -> Group:
    """Return what is printed: several lines for one run, one line each for several.

    Args:
        height: lines of the terminal; None: all runs are shown.
    """
    if not runs:
        return Group(Text("no run here yet"))
    if len(runs) == 1:
        return _one(runs[0], console)
    return _many(sorted(runs, key=lambda run: _ORDER.index(run.state)), console, height)


def record(run: RunOnDisk) -> dict[str, Any]:
    """Return a run as plain values for JSON."""
    last = run.epochs[-1] if run.epochs else {}
    best = run.best or {}
    return {
        "run": str(run.path),
        "name": run.name,
        "state": run.state,
        "metric": run.metric,
        "epoch": last.get("epoch", 0),
        "epochs": run.planned_epochs,
        "loss": number(last, "loss"),
        **{part: _newest(run, part) for part in ("train", "valid", "test")},
        "best_epoch": best.get("epoch"),
        "best_valid": number(best, "valid"),
        "best_test": number(best, "test"),
        "peak_bytes": run.peak_bytes,
        "epoch_seconds": run.epoch_seconds,
        "seconds_left": run.seconds_left,
        "problem": run.problem,
    }


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a curve of at most `width` characters, each the mean of its stretch; nothing for fewer than two values."""
    if len(values) < 2 or width < 2:
        return ""
    width = min(width, len(values))
    ends = [i * len(values) // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(ends)]
    low, high = min(means), max(means)
    return "".join(_LEVELS[round((v - low) / (high - low) * 7) if high > low else 0] for v in means)


def _one(run: RunOnDisk, console: Console) -> Group:
    width = console.width
    done, planned = _progress(run)
    lines = [Text.assemble((shorten(clean(run.name), width - 12), "bold"), "  ", (run.state, _STYLES[run.state]))]
    if run.problem:
        lines.append(Text(clean(run.problem), style="red"))
    left = "" if run.seconds_left is None else f"  left {seconds_text(run.seconds_left)}"
    lines.append(Text(f"{'epoch':<8}{done}/{planned or '?'}  {_bar(done, planned, max(8, width - 44), console)}{left}"))
    for name in ("loss", "train", "valid", "test"):
        _, values = column(run.epochs, name)
        if values:
            curve = sparkline(values, width - 20) if _has_unicode(console) else ""
            lines.append(Text(f"{name:<8}{score_text(values[-1]):<10}  {curve}"))
    best = run.best
    if best is not None:
        metric = "" if run.metric is None else f" {run.metric}"
        test = "" if number(best, "test") is None else f", test {score_text(best['test'])}"
        lines.append(Text(f"{'best':<8}{score_text(best['valid'])}{metric} in epoch {best['epoch']}{test}"))
    costs = [] if run.peak_bytes is None else [f"{bytes_text(run.peak_bytes)} peak"]
    costs += [] if run.epoch_seconds is None else [f"{seconds_text(run.epoch_seconds)} an epoch"]
    if costs:
        lines.append(Text(f"{'costs':<8}{', '.join(costs)}"))
    failed = sum(
        int(number(line[name], "failures") or 0)
        for line in run.epochs
        for name in ("solves", "evaluation_solves")
        if isinstance(line.get(name), dict)
    )
    if failed:
        lines.append(Text(f"{'solver':<8}{failed} solves did not converge", style="yellow"))
    return Group(*lines)


def _many(runs: Sequence[RunOnDisk], console: Console, height: int | None) -> Group:
    width = console.width
    counts = [f"{sum(run.state == state for run in runs)} {state}" for state in _ORDER if any(run.state == state for run in runs)]
    shown = runs if height is None else runs[: max(1, height - 5)]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    extra = [
        name for name, needs in (("test", 72), ("loss", 82), ("time/epoch", 94), ("peak", 106), ("curve", 124)) if width >= needs
    ]
    table.add_column("run", no_wrap=True)
    for name in ("state", "epoch", "best", "left", *extra):
        table.add_column(name, no_wrap=True, justify="left" if name in ("state", "curve") else "right")
    name_width = max(10, min(max(len(clean(run.name)) for run in shown), width - 39 - 11 * len(extra)))
    for run in shown:
        table.add_row(*_cells(run, name_width, extra, console))
    lines: list[Text | Table] = [Text(f"{len(runs)} runs: {', '.join(counts)}"), table]
    if len(shown) < len(runs):
        lines.append(Text(f"and {len(runs) - len(shown)} more", style="dim"))
    metrics = {run.metric for run in runs}
    if len(metrics) == 1 and (metric := metrics.pop()) is not None:
        lines.append(Text(f"best: validation {clean(metric)}", style="dim"))
    return Group(*lines)


def _cells(run: RunOnDisk, name_width: int, extra: Sequence[str], console: Console) -> list[Text]:
    done, planned = _progress(run)
    best = run.best or {}
    values = {
        "test": score_text(number(best, "test")),
        "loss": "-" if not run.epochs or number(run.epochs[-1], "loss") is None else f"{run.epochs[-1]['loss']:.4f}",
        "time/epoch": seconds_text(run.epoch_seconds),
        "peak": "-" if run.peak_bytes is None else bytes_text(run.peak_bytes),
        "curve": sparkline(column(run.epochs, "valid")[1], 16) if _has_unicode(console) else "",
    }
    cells = [Text(shorten(clean(run.name).replace("\n", " "), name_width)), Text(run.state, style=_STYLES[run.state])]
    cells += [Text(f"{done}/{planned or '?'}"), Text(score_text(number(best, "valid"))), Text(seconds_text(run.seconds_left))]
    return [*cells, *(Text(values[name]) for name in extra)]


def _progress(run: RunOnDisk) -> tuple[int, int | None]:
    """Return the epochs that are done, and those planned."""
    return run.epochs[-1]["epoch"] if run.epochs else 0, run.planned_epochs


def _bar(done: int, planned: int | None, width: int, console: Console) -> str:
    if not planned:
        return ""
    full = min(width, width * done // planned)
    filled, empty = ("█", "░") if _has_unicode(console) else ("#", ".")
    return filled * full + empty * (width - full)


def _has_unicode(console: Console) -> bool:
    return console.encoding.casefold().startswith("utf")


def _newest(run: RunOnDisk, part: str) -> float | None:
    """Return the score of the last epoch that was evaluated."""
    _, values = column(run.epochs, part)
    return values[-1] if values else None
