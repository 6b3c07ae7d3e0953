"""Using a trained run: scores and predictions of its best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from revgnn.train.config import EvalConfig
from revgnn.train.evaluation import infer, probabilities, score_splits
from revgnn.train.files import replacing
from revgnn.train.run_folder import RunFolder
from revgnn.train.session import Session, prepare


def evaluate_run(
    run: Path | str,
    *,
    views: int | None = None,
    parts: int | None = None,
    root: Path | str | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Score the best weights of a run. With no arguments the scores are those the run itself recorded.

    Args:
        views, parts: see `EvalConfig`; default: the run's own.
        root: where the data lies now, if it has moved.
        device: default: the run's own.

    Returns:
        `train`, `valid` and `test` scores and all that is needed to repeat them, ready for JSON.

    Raises:
        ValueError, OSError: if the folder, its weights or the data cannot be used.
    """
    session, note, how = restore(run, views, parts, root, device)
    logits = infer(session.model, session.batches, how, session.config.seed)
    scores = score_splits(session.dataset, logits)
    return {
        "run": str(run),
        "dataset": session.dataset.name,
        "metric": session.dataset.metric,
        "epoch": note["epoch"],
        "views": how.views,
        "parts": how.parts,
        **scores.as_dict(),
    }


def predict_run(
    run: Path | str,
    out: Path | str,
    *,
    views: int | None = None,
    parts: int | None = None,
    root: Path | str | None = None,
    device: str | None = None,
) -> dict[str, tuple[int, ...]]:
    """Write predictions of the best weights for every node to an .npz file, which holds

    - `logits`: float32, (N, outputs),
    - `probabilities`: float32, (N, outputs): softmax over classes, or of each label by itself,
    - `nodes`: int64, (N,): the nodes' numbers in the data set,
    - `splits`: text, (N,): "train", "valid", "test" or "".

    Arguments are those of `evaluate_run`.

    Returns:
        The shape of each array.
    """
    out = Path(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} does not exist; create it, or choose another --out.")
    session, _, how = restore(run, views, parts, root, device)
    logits = infer(session.model, session.batches, how, session.config.seed)
    splits = np.full(len(logits), "", dtype="<U5")
    for name in ("train", "valid", "test"):
        splits[getattr(session.dataset.split, name).numpy()] = name
    arrays = {
        "logits": logits.numpy(),
        "probabilities": probabilities(session.dataset.task, logits).numpy(),
        "nodes": np.arange(len(logits), dtype=np.int64),
        "splits": splits,
    }
    with replacing(out) as temporary, open(temporary, "wb") as file:  # an open file, as savez adds .npz to a bare name
        np.savez(file, allow_pickle=False, **arrays)
    return {name: array.shape for name, array in arrays.items()}


def restore(
    run: Path | str, views: int | None, parts: int | None, root: Path | str | None, device: str | None
) -> tuple[Session, dict[str, Any], EvalConfig]:
    """A run with its best weights, what its folder notes of them, and how to evaluate: as in training, but for what is given."""
    folder = RunFolder(run)
    config = folder.config()
    changes = {"evaluation.views": views, "evaluation.parts": parts, "device": device}
    changes["data.root"] = None if root is None else str(Path(root).absolute())
    session = prepare(config.replace({key: value for key, value in changes.items() if value is not None}))
    return session, folder.restore_best(session), session.config.evaluation
