"""Scores of a trained run (`revgnn evaluate`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from revgnn._words import OPTIONS, speaks_python
from revgnn.train.inference.saved_run import AS_SAVED, LoadOptions, load_run
from revgnn.train.metrics import score_splits
from revgnn.train.run.folder import RunFolder


@speaks_python(OPTIONS)
def evaluate_run(run: Path | str, options: LoadOptions = AS_SAVED) -> dict[str, Any]:
    """Score the best weights of a run. Without options, these are the scores that the run recorded.

    Args:
        run: the run's folder, or that of a sweep.

    Returns:
        The scores `train`, `valid` and `test`, and everything needed to repeat them; ready for JSON. Of a sweep `runs`, the scores
        of each run, and the mean and sample deviation of `train`, `valid` and `test`.

    Raises:
        ChangedDataError: if the data are not those that the run was trained on.
        ValueError, OSError: if the folder, its weights or the data cannot be used.
    """
    if folders := RunFolder.runs_of_sweep(run):
        return _summary(str(run), [evaluate_run(folder, options) for folder in folders])
    saved = load_run(run, options)
    own = saved.session.config.data
    if saved.is_new_graph and own is not None and options.data is not None and _same_path(own.name, options.data):
        message = f"{options.data} are the tables that the run was trained on: this score is of its training nodes too."
        warnings.warn(message, stacklevel=2)
    if saved.dataset.objective.num_labelled(saved.dataset.y) == 0:
        raise ValueError(f"{saved.dataset.source} has no labels to compare with; `revgnn predict` needs none.")
    logits = saved.logits()

    def scored() -> dict[str, Any]:
        return score_splits(saved.dataset, logits, saved.thresholds).as_dict()

    return {
        "run": str(run),
        "dataset": saved.dataset.name,
        "metric": saved.dataset.metric,
        "epoch": saved.epoch,
        "views": saved.evaluation.views,
        "parts": saved.evaluation.parts,
        **options.team.ask_leader(scored),
    }


def _summary(sweep: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the scores of the runs of a sweep, with their mean and deviation over the runs that have them."""
    parts = {part: [run[part] for run in runs if run[part] is not None] for part in ("train", "valid", "test")}
    shared = {name: runs[0][name] for name in ("dataset", "metric", "views", "parts")}
    return {"run": sweep, **shared, **{part: mean_and_std(scores) for part, scores in parts.items()}, "runs": runs}


def mean_and_std(scores: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and the sample standard deviation of some scores; None if there are too few."""
    return {
        "mean": mean(scores) if scores else None,
        "std": stdev(scores) if len(scores) > 1 else None,
    }


def _same_path(a: Path | str, b: Path | str) -> bool:
    return Path(a).resolve() == Path(b).resolve()
