"""Scores of a trained run (`revgnn evaluate`)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from revgnn.data.tables.options import OnBadRows
from revgnn.train.inference.saved_run import load_run
from revgnn.train.metrics import score_splits
from revgnn.train.task import num_labelled


def evaluate_run(
    run: Path | str,
    *,
    views: int | None = None,
    parts: int | None = None,
    root: Path | str | None = None,
    device: str | None = None,
    amp: str | None = None,
    data: Path | str | None = None,
    edges: Path | str | None = None,
    on_bad_rows: OnBadRows = "refuse",
) -> dict[str, Any]:
    """Score the best weights of a run. Without further arguments, these are the scores that the run recorded.

    Args:
        run: the run's folder. The other arguments are those of `load_run`.

    Returns:
        The scores `train`, `valid` and `test`, and everything needed to repeat them; ready for JSON.

    Raises:
        ValueError, OSError: if the folder, its weights or the data cannot be used.
    """
    saved = load_run(
        run, views=views, parts=parts, root=root, device=device, amp=amp, data=data, edges=edges, on_bad_rows=on_bad_rows
    )
    own = saved.session.config.data
    if data is not None and own is not None and Path(own.name).resolve() == Path(data).resolve():
        message = f"{data} are the tables that the run was trained on: this score is of its training nodes too."
        warnings.warn(message, stacklevel=2)
    if num_labelled(saved.dataset.task, saved.dataset.y) == 0:
        raise ValueError(f"{saved.dataset.source} has no labels to compare with; `revgnn predict` needs none.")
    scores = score_splits(saved.dataset, saved.logits())
    return {
        "run": str(run),
        "dataset": saved.dataset.name,
        "metric": saved.dataset.metric,
        "epoch": saved.epoch,
        "views": saved.evaluation.views,
        "parts": saved.evaluation.parts,
        **scores.as_dict(),
    }
