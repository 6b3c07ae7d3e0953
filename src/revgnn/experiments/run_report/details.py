"""What a run's weights say that training does not record: calibration, confusion, tasks, targets, depth, solves.

It is computed once from the best weights and the run's data, and kept in the folder of the run as details.json. It belongs to these
weights: after the run was trained on, it is computed anew.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn._text import LONGEST_NAME, clean
from revgnn.data import NodeDataset
from revgnn.data.tasks import AbstractTask, MetricError, Regression
from revgnn.data.tasks.scores import score_columns
from revgnn.experiments.run_files.weights_note import weights_digest
from revgnn.experiments.run_report.charts.thin import every_nth
from revgnn.experiments.run_report.depth_profile import DepthProfile, activation_profile, gradient_profile
from revgnn.files import write_json
from revgnn.models.equilibrium import EquilibriumGNN
from revgnn.train.inference.calibration import BINS, calibration_error, fit_temperatures
from revgnn.train.inference.saved_run import AS_SAVED, LoadOptions, SavedRun, load_run

NAME = "details.json"
VERSION = 1

MOST_CLASSES = 30
"""Classes of a confusion matrix; the others, less frequent, are shown together."""

MOST_POINTS = 600
"""Predictions that are drawn for each target."""

MOST_TARGETS = 4

MOST_TASKS = 2000


@dataclass(frozen=True)
class Details:
    """What is computed from the best weights, ready for JSON. A part that the run's task or network does not have is None.

    Attributes:
        split: the nodes that it is about: "test", or "valid" if no test node has a label.
        rows: number of them with a label.
        row: "node", "graph" or "pair".
        calibration: `before` and `after` temperature scaling, each a list of `[mean probability, share that came true, entries]` of
            the bins in use; `error_before` and `error_after`, the expected calibration errors.
        tasks: `name`, `rocauc`, `rows` and `positive` of each label with both classes; `total` of all labels.
        confusion: `names` of the classes, and `counts`: one list for each true class.
        targets: `name`, `truth`, `predicted` (some of them), `r2`, `mae` of each target.
        profile: see `DepthProfile`.
        solve: relative `residuals` by iteration of the last solve in evaluation, `status` and `rtol`.
    """

    split: str
    rows: int
    row: str
    calibration: dict[str, Any] | None = None
    tasks: dict[str, Any] | None = None
    confusion: dict[str, Any] | None = None
    targets: list[dict[str, Any]] | None = None
    profile: dict[str, Any] | None = None
    solve: dict[str, Any] | None = None


def saved_details(run: Path) -> Details | None:
    """Return the details that are kept for the present weights of a run; None if there are none."""
    try:
        values = json.loads((run / NAME).read_text(encoding="utf-8"))
        is_current = values.pop("version") == VERSION and values.pop("weights") == weights_digest(run)
        return Details(**values) if is_current else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def run_details(run: Path, options: LoadOptions = AS_SAVED) -> Details:
    """Return the details of a run: those that are kept, or else computed from its best weights, and then kept.

    Raises:
        ValueError, OSError: if the weights or the data cannot be used.
    """
    known = saved_details(run)
    if known is not None:
        return known
    details = _compute(load_run(run, options))
    try:
        write_json(run / NAME, {"version": VERSION, "weights": weights_digest(run), **asdict(details)})
    except OSError as error:
        warnings.warn(f"{error.filename or run}: {error.strerror}; what was computed for the report is not kept.", stacklevel=2)
    return details


def _compute(saved: SavedRun) -> Details:
    profile, logits = activation_profile(saved)
    model = saved.session.model
    solve = None
    if isinstance(model, EquilibriumGNN) and model.solves.forward is not None:
        outcome = model.solves.forward
        residuals = [r if np.isfinite(r) else None for r in outcome.residuals]
        solve = {"residuals": residuals, "status": outcome.status.value, "rtol": model.settings.rtol}
    if profile is not None:
        profile = gradient_profile(saved, profile)
    return scored_details(saved.dataset, logits, profile, solve)


def scored_details(
    dataset: NodeDataset, logits: Tensor, profile: DepthProfile | None = None, solve: dict[str, Any] | None = None
) -> Details:
    """Return the details of some logits (N, outputs) of a data set."""
    task, split = dataset.objective, dataset.split
    has_test = len(split.test) > 0 and task.num_labelled(dataset.y[split.test]) > 0
    nodes = split.test if has_test else split.valid
    y = dataset.y[nodes]
    names = _names(dataset)
    return Details(
        split="test" if has_test else "valid",
        rows=task.num_labelled(y),
        row=dataset.row,
        calibration=_calibration(dataset, logits, nodes),
        tasks=_tasks(task, logits[nodes], y, names) if task.name in ("binary", "multilabel") else None,
        confusion=_confusion(task, logits[nodes], y, names) if task.name in ("binary", "multiclass") else None,
        targets=_targets(task, logits[nodes], y, names) if isinstance(task, Regression) else None,
        profile=None if profile is None else asdict(profile),
        solve=solve,
    )


def _names(dataset: NodeDataset) -> list[str]:
    """Return the classes, labels or targets, by name or else by number."""
    given = dataset.tables.classes if dataset.tables is not None else dataset.task_names or dataset.objective.default_names
    return [clean(name, LONGEST_NAME) for name in given]


def _calibration(dataset: NodeDataset, logits: Tensor, nodes: Tensor) -> dict[str, Any] | None:
    task, y = dataset.objective, dataset.y
    valid = dataset.split.valid
    try:
        temperatures = fit_temperatures(task, logits[valid], y[valid])
    except ValueError:  # numbers have no probabilities
        return None
    before, after = logits[nodes].double(), temperatures.apply(logits)[nodes]
    return {
        "before": _bins(task, before, y[nodes]),
        "after": _bins(task, after, y[nodes]),
        "error_before": calibration_error(task, before, y[nodes]),
        "error_after": calibration_error(task, after, y[nodes]),
    }


def _bins(task: AbstractTask, logits: Tensor, y: Tensor) -> list[list[float]]:
    """Return `[mean probability, share that came true, entries]` of each bin in use, all labels together."""
    pairs = [task.confidence(*column) for column in task.calibration_columns(logits, y) if len(column[1])]
    if not pairs:
        return []
    stated, true = (torch.cat([pair[i] for pair in pairs]).numpy() for i in (0, 1))
    place = np.minimum((stated * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values, minlength=BINS) for values in (stated, true)]
    return [[float(sums[0][b] / n), float(sums[1][b] / n), int(n)] for b, n in enumerate(counts) if n]


def _tasks(task: AbstractTask, logits: Tensor, y: Tensor, names: list[str]) -> dict[str, Any] | None:
    logits, y = logits.reshape(len(logits), -1), y.reshape(len(y), -1)
    known = task.labelled(y)
    shown = names if logits.shape[1] > 1 else [names[-1]]
    each = []
    for column in range(min(logits.shape[1], MOST_TASKS)):
        rows = known[:, [column]]
        try:
            area = score_columns("rocauc", logits[:, [column]], y[:, [column]], rows, None)
        except MetricError:  # labels of one class only
            continue
        each.append({"name": shown[column], "rocauc": area, "rows": int(rows.sum()), "positive": int((y[:, column] == 1).sum())})
    return {"total": logits.shape[1], "each": each} if each else None


def _confusion(task: AbstractTask, logits: Tensor, y: Tensor, names: list[str]) -> dict[str, Any] | None:
    known = task.labelled(y)
    truth = y[known]
    predicted = (logits[known, 0] > 0).long() if task.name == "binary" else logits[known].argmax(dim=1)
    if not len(truth):
        return None
    classes = len(names)
    counts = torch.bincount(truth * classes + predicted, minlength=classes**2).view(classes, classes)
    if classes > MOST_CLASSES:
        kept = counts.sum(dim=1).argsort(descending=True, stable=True)[: MOST_CLASSES - 1].sort().values
        place = torch.full((classes,), MOST_CLASSES - 1).index_put_((kept,), torch.arange(len(kept)))
        pairs = place[truth] * MOST_CLASSES + place[predicted]
        counts = torch.bincount(pairs, minlength=MOST_CLASSES**2).view(MOST_CLASSES, MOST_CLASSES)
        names = [*(names[i] for i in kept.tolist()), f"{classes - len(kept)} others"]
    return {"names": names, "counts": counts.tolist()}


def _targets(task: Regression, logits: Tensor, y: Tensor, names: list[str]) -> list[dict[str, Any]]:
    values, known = task.values(logits.double()), task.labelled(y)
    targets = []
    for column, name in enumerate(names[:MOST_TARGETS]):
        truth, predicted = y[known[:, column], column].double(), values[known[:, column], column]
        if not len(truth):
            continue
        some = every_nth(len(truth), MOST_POINTS)
        scores: dict[str, float | None] = {}
        for metric in ("r2", "mae"):
            try:
                scores[metric] = task.score(metric, logits, torch.where(_only(known, column), y, torch.nan))
            except MetricError:
                scores[metric] = None
        targets.append({"name": name, "truth": truth[some].tolist(), "predicted": predicted[some].tolist(), **scores})
    return targets


def _only(known: Tensor, column: int) -> Tensor:
    """Return the labelled entries of one column alone."""
    chosen = torch.zeros_like(known)
    chosen[:, column] = known[:, column]
    return chosen
