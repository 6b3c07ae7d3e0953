"""What the weights of one run say: depth, solves, calibration, tasks, confusion, targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from revgnn.experiments.run_report.charts.chart import Axis, Chart, DotChart, Mark, MatrixChart, Series, XYChart
from revgnn.experiments.run_report.details import Details
from revgnn.experiments.run_report.pictures.words import called, plural, wants_log

MOST_ROWS = 20
"""Labels that each have a row; more are drawn as one sorted curve."""


def inside_charts(details: Details) -> list[Chart]:
    """Return every picture that the details of a run have data for."""
    found: list[Chart | None] = [
        *_profile(details),
        _solve(details),
        _calibration(details),
        _tasks(details),
        _confusion(details),
        *_targets(details),
    ]
    return [chart for chart in found if chart is not None]


def _where(details: Details) -> str:
    names = {"test": "test", "valid": "validation"}
    return f"{details.rows:,} {names[details.split]} {details.row}{'' if details.rows == 1 else 's'}"


def _profile(details: Details) -> list[XYChart]:
    if details.profile is None or len(details.profile["state"]) < 2:
        return []
    state, update, gradient = (details.profile[name] for name in ("state", "update", "gradient"))
    layers = list(range(1, len(state) + 1))
    axis = Axis("layer", whole=True, low=1, high=len(state))
    values = [*state, *update]
    lines = [Series("state", layers, state, colour=1), Series("added", layers, update, colour=2)]
    charts = [
        XYChart(
            "depth-activations",
            "Activations by depth",
            "Root mean square over nodes and channels in evaluation: of the state after each layer, and of what the layer adds.",
            axis,
            Axis("root mean square", log=wants_log(values, 30), low=None if wants_log(values, 30) else 0),
            lines,
        )
    ]
    if gradient:
        charts.append(
            XYChart(
                "depth-gradients",
                "Gradients by depth",
                "Root mean square of the gradient of each layer's parameters, in one training step from the best weights.",
                axis,
                Axis("root mean square", log=wants_log(gradient, 5)),
                [Series("gradient", layers, gradient, colour=4, labelled=False)],
            )
        )
    return charts


def _solve(details: Details) -> XYChart | None:
    if details.solve is None:
        return None
    points = [(i, r) for i, r in enumerate(details.solve["residuals"], start=1) if r is not None and r > 0]
    if len(points) < 2:
        return None
    rtol = details.solve["rtol"]
    status = {"converged": "It converged.", "max_steps": "It ran out of steps."}.get(
        details.solve["status"], "It did not converge."
    )
    return XYChart(
        "solve",
        "One solve of the equilibrium",
        f"Relative residual by iteration, in evaluation with the best weights. {status}",
        Axis("iteration", whole=True),
        Axis("relative residual", log=True),
        [Series("residual", [i for i, _ in points], [r for _, r in points], labelled=False)],
        (Mark("horizontal", f"tolerance {rtol:g}", rtol),) if rtol > 0 else (),
    )


def _calibration(details: Details) -> XYChart | None:
    c = details.calibration
    if c is None or not c["before"]:
        return None
    least = max(5, sum(b[2] for b in c["before"]) // 1000)
    kept = {name: [b for b in c[name] if b[2] >= least] or c[name] for name in ("before", "after")}
    series = [
        Series(name, [b[0] for b in bins], [b[1] for b in bins], colour=colour, style="both", notes=_bin_notes(bins), dashed=dashed)
        for name, bins, colour, dashed in (("scaled", kept["after"], 3, True), ("as trained", kept["before"], 1, False))
    ]
    caption = (
        f"Probabilities of {_where(details)} in bins, those with fewer than {least:,} left out. Below the line, the network is too "
        f"sure. Expected calibration error {c['error_before']:.3f}; with temperatures fitted on the validation data "
        f"{c['error_after']:.3f}."
    )
    share = Axis("share that came true", low=0, high=1)
    return XYChart(
        "calibration",
        "Calibration",
        caption,
        Axis("stated probability", low=0, high=1),
        share,
        series,
        (Mark("diagonal", "perfect"),),
        square=True,
    )


def _bin_notes(bins: Sequence[Sequence[float]]) -> list[str]:
    return [f"{stated:.3f} stated, {true:.3f} came true, {plural(int(n), 'prediction')}" for stated, true, n in bins]


def _tasks(details: Details) -> DotChart | XYChart | None:
    if details.tasks is None or len(details.tasks["each"]) < 2:
        return None
    each: list[dict[str, Any]] = sorted(details.tasks["each"], key=lambda task: -task["rocauc"])
    notes = [f"{t['name']}: {t['rocauc']:.4f}, {t['positive']:,} of {t['rows']:,} are yes" for t in each]
    missing = details.tasks["total"] - len(each)
    lowest = f"{called('label', each[-1]['name'])} ({each[-1]['rocauc']:.3f})"
    caption = f"ROC-AUC of each label on {_where(details)}; 0.5 is chance. Lowest: {lowest}."
    if missing:
        caption += f" Left out: {plural(missing, 'label')} without both yes and no."
    title, axis = "ROC-AUC by label", "ROC-AUC"
    if len(each) <= MOST_ROWS:
        rows = [(called("label", t["name"]), t["rocauc"]) for t in each]
        return DotChart("tasks", title, caption, Axis(axis), rows, notes, Mark("vertical", "chance", 0.5))
    ranks = list(range(1, len(each) + 1))
    ends = [
        Series(called("label", each[i]["name"]), [ranks[i]], [each[i]["rocauc"]], style="points", notes=[notes[i]])
        for i in (0, len(each) - 1)
    ]
    middle = Series("", ranks[1:-1], [t["rocauc"] for t in each[1:-1]], style="points", labelled=False, notes=notes[1:-1])
    marks = (Mark("horizontal", "chance", 0.5),)
    return XYChart(
        "tasks",
        title,
        caption,
        Axis("rank of the label", low=0, high=len(each) + 1, whole=True),
        Axis(axis),
        [middle, *ends],
        marks,
    )


def _confusion(details: Details) -> MatrixChart | None:
    if details.confusion is None:
        return None
    counts: list[list[int]] = details.confusion["counts"]
    names: list[str] = details.confusion["names"]
    right = sum(row[i] for i, row in enumerate(counts))
    total = sum(map(sum, counts))
    errors = [(n, r, c) for r, row in enumerate(counts) for c, n in enumerate(row) if r != c and n]
    caption = f"{right:,} of {total:,} are right on the diagonal. The shade of a cell is its share of the row."
    if errors:
        n, r, c = max(errors)
        caption += f" The most frequent mistake: {called('class', names[r])} taken for {called('class', names[c])}, {n:,} times."
    return MatrixChart("confusion", f"Confusion: {_where(details)}", caption, names, counts, "true class", "predicted class")


def _targets(details: Details) -> list[XYChart]:
    charts = []
    for i, target in enumerate(details.targets or ()):
        truth, predicted = target["truth"], target["predicted"]
        low, high = min([*truth, *predicted]), max([*truth, *predicted])
        scores = ", ".join(
            f"{name} {target[key]:.4g}" for name, key in (("R²", "r2"), ("mean absolute error", "mae")) if target[key] is not None
        )
        shown = f"{len(truth):,} of " if len(truth) < details.rows else ""
        charts.append(
            XYChart(
                "targets" if i == 0 else f"targets-{i + 1}",
                f"Predictions against targets: {target['name']}",
                f"{shown}{_where(details)}. {scores[:1].upper()}{scores[1:]}.",
                Axis("target", low=low, high=high),
                Axis("prediction", low=low, high=high),
                [Series("", truth, predicted, style="points", labelled=False)],
                (Mark("diagonal", "perfect"),),
                square=True,
            )
        )
    return charts
