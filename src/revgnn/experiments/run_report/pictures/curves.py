"""Learning curves: loss and scores by epoch, of one run or of many; the solves of equilibria."""

from __future__ import annotations

from collections.abc import Sequence

from revgnn._text import score_text
from revgnn.experiments.run_files.metrics import column, number
from revgnn.experiments.run_files.reading import RunOnDisk
from revgnn.experiments.run_report.charts.chart import COLOURS, Axis, Mark, Series, XYChart
from revgnn.experiments.run_report.charts.thin import thin_line
from revgnn.experiments.run_report.compared import best_first, comparable
from revgnn.experiments.run_report.pictures.words import metric_text, plural, score_axis, wants_log

MOST_POINTS = 4000
"""Points of all curves of a picture together."""

MOST_LINES = 60


def learning_curves(runs: Sequence[RunOnDisk]) -> list[XYChart]:
    """Return loss and scores by epoch; none for runs without an epoch."""
    runs = [run for run in runs if run.epochs]
    if len(runs) == 1:
        return [chart for chart in (_loss_of_one(runs[0]), _scores_of_one(runs[0])) if chart is not None]
    return [chart for chart in (_of_many(runs, "loss"), _of_many(comparable(runs), "valid")) if chart is not None]


def solver_curves(run: RunOnDisk) -> list[XYChart]:
    """Return residuals and steps of the solves by epoch; none for a run that solves nothing."""
    charts = []
    for name, title, unit, series in (
        (
            "solver-residuals",
            "Residuals of the equilibrium solves",
            "relative residual",
            (("median", "solves", "median_residual"), ("largest", "solves", "max_residual")),
        ),
        (
            "solver-steps",
            "Steps of the equilibrium solves",
            "steps a solve (mean)",
            (
                ("forward", "solves", "forward_steps"),
                ("backward", "solves", "backward_steps"),
                ("evaluation", "evaluation_solves", "forward_steps"),
            ),
        ),
    ):
        lines = []
        for colour, (label, group, field) in enumerate(series, start=1):
            rows = [{"epoch": line["epoch"], **line[group]} for line in run.epochs if isinstance(line.get(group), dict)]
            x, y = column(rows, field)
            if x and (unit.startswith("steps") or min(y) > 0):
                lines.append(Series(label, *thin_line(x, y, MOST_POINTS // 3), colour=colour, dashed=colour == 3))
        if not lines:
            continue
        solved = [line["solves"] for line in run.epochs if isinstance(line.get("solves"), dict)]
        total, failed = (int(sum(number(s, key) or 0 for s in solved)) for key in ("solves", "failures"))
        caption = "Evaluations of the block, or steps of the adjoint system (backward); mean over the solves of an epoch."
        if name == "solver-residuals":
            caption = f"Of {plural(total, 'solve')} in training {failed:,} did not reach their tolerance."
        marks: tuple[Mark, ...] = ()
        if name == "solver-residuals" and run.config is not None:
            rtol = getattr(getattr(run.config.model, "effective_solver", None), "rtol", None)
            marks = () if rtol is None else (Mark("horizontal", f"tolerance {rtol:g}", rtol),)
        axis = Axis(unit, log=name == "solver-residuals", low=0 if name == "solver-steps" else None)
        charts.append(XYChart(name, title, caption, _epochs(lines), axis, lines, marks))
    return charts


def _loss_of_one(run: RunOnDisk) -> XYChart | None:
    x, y = column(run.epochs, "loss")
    if not x:
        return None
    least = min(range(len(y)), key=lambda i: y[i])
    caption = f"Mean over the labelled training nodes. Lowest: {y[least]:.4g}, in epoch {x[least]:,}."
    series = [Series("loss", *thin_line(x, y, MOST_POINTS), labelled=False)]
    return XYChart("loss", "Training loss", caption, _epochs(series), Axis("training loss", log=wants_log(y, 20)), series)


def _scores_of_one(run: RunOnDisk) -> XYChart | None:
    series = []
    for colour, part in ((3, "train"), (1, "valid"), (2, "test")):
        x, y = column(run.epochs, part)
        if x:
            series.append(Series(part, *thin_line(x, y, MOST_POINTS // 3), colour=colour, dashed=part == "train"))
    if not series:
        return None
    best = run.best
    marks, caption = (), "The weights with the best validation score are kept."
    if best is not None:
        marks = (Mark("vertical", f"epoch {best['epoch']:,}", best["epoch"]),)
        caption = (
            f"Best validation score {score_text(best['valid'])} in epoch {best['epoch']:,}, whose weights are kept; "
            f"test {score_text(number(best, 'test'))}."
        )
    name = metric_text(run.metric)
    return XYChart("scores", f"Scores: {name}", caption, _epochs(series), score_axis(name, series), series, marks)


def _of_many(runs: Sequence[RunOnDisk], field: str) -> XYChart | None:
    """Return a curve for each run; the best are named, others are muted."""
    curves = [(run, *column(run.epochs, field)) for run in best_first(runs)]
    curves = [curve for curve in curves if curve[1]]
    shown = curves[:MOST_LINES]
    if not shown:
        return None
    named = len(shown) if len(shown) <= COLOURS else COLOURS - 1
    each = max(20, MOST_POINTS // len(shown))
    series = [
        Series(run.name, *thin_line(x, y, each), colour=i + 1 if i < named else 0, labelled=i < named, dashed=i in (2, 3))
        for i, (run, x, y) in enumerate(shown)
    ]
    caption = f"{plural(len(curves), 'run')}."
    if named < len(shown):
        caption += f" Named are the {named} with the best validation scores."
    if len(shown) < len(curves):
        caption += f" Drawn are the best {len(shown)}."
    metric = metric_text(runs[0].metric)
    title, label = ("Training loss", "training loss") if field == "loss" else ("Validation score", f"{metric}, validation")
    log = field == "loss" and wants_log([v for s in series for v in s.y], 20)
    axis = score_axis(label, series) if field == "valid" else Axis(label, log=log)
    return XYChart(f"runs-{field}", title, caption, _epochs(series), axis, series)


def _epochs(series: Sequence[Series]) -> Axis:
    """Return the axis of the epochs that curves have, without room beside them."""
    return Axis("epoch", low=min(line.x[0] for line in series), high=max(line.x[-1] for line in series), whole=True)
