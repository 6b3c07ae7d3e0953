"""Using a trained run: scores and predictions of its best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from revgnn.data import NodeDataset
from revgnn.train.config import EvalConfig
from revgnn.train.inference.calibration import fit_and_report
from revgnn.train.inference.evaluation import infer, infer_with_spread, probabilities, score_splits
from revgnn.train.run.files import replacing
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session, prepare


def evaluate_run(
    run: Path | str,
    *,
    views: int | None = None,
    parts: int | None = None,
    root: Path | str | None = None,
    device: str | None = None,
    amp: str | None = None,
) -> dict[str, Any]:
    """Score the best weights of a run. With no arguments the scores are those the run itself recorded.

    Args:
        views, parts: see `EvalConfig`; default: the run's own.
        root: where the data lies now, if it has moved.
        device: default: the run's own.
        amp: precision of the forward pass, "none", "bf16" or "fp16"; default: the run's own for evaluation.

    Returns:
        `train`, `valid` and `test` scores and all that is needed to repeat them, ready for JSON.

    Raises:
        ValueError, OSError: if the folder, its weights or the data cannot be used.
    """
    session, note, how = restore(run, views, parts, root, device, amp)
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
    amp: str | None = None,
    spread: bool = False,
    calibrate: bool = False,
) -> dict[str, Any]:
    """Write predictions of the best weights for every node to an .npz file, which holds

    - `logits`: float32, (N, outputs): the mean over the views,
    - `probabilities`: float32, (N, outputs): softmax over classes, or of each label by itself,
    - `nodes`: int64, (N,): the nodes' numbers in the data set,
    - `splits`: text, (N,): "train", "valid", "test" or "";

    with `spread`

    - `logits_std`, `probabilities_std`: float32, (N, outputs): sample standard deviation over the views;

    with `calibrate`

    - `calibrated`: float32, (N, outputs): probabilities of the logits divided by their temperatures,
    - `temperatures`: float64, (outputs,), or (1,) for classes: fitted on the validation nodes, see `fit_temperatures`.

    Args:
        spread: needs two views or more, of two parts or more.

    The other arguments are those of `evaluate_run`.

    Returns:
        Which weights and views they are of, the shape of each array under `arrays`, and with `calibrate` a report under
        `calibration`; ready for JSON.

    Raises:
        ValueError, OSError: as `evaluate_run`; if there are too few views for a spread, or `out` cannot be written.
    """
    out = Path(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} does not exist; create it, or choose another --out.")
    session, note, how = restore(run, views, parts, root, device, amp)
    dataset, seed = session.dataset, session.config.seed
    arrays: dict[str, np.ndarray] = {}
    if spread:
        seen = infer_with_spread(session.model, session.batches, how, seed)
        logits = seen.logits
        arrays |= {"logits_std": seen.logits_std.numpy(), "probabilities_std": seen.probabilities_std.numpy()}
    else:
        logits = infer(session.model, session.batches, how, seed)
    arrays |= {
        "logits": logits.numpy(),
        "probabilities": probabilities(dataset.task, logits).numpy(),
        "nodes": np.arange(len(logits), dtype=np.int64),
        "splits": _split_names(dataset),
    }
    report: dict[str, Any] = {
        "run": str(run),
        "out": str(out),
        "dataset": dataset.name,
        "epoch": note["epoch"],
        "views": how.views,
        "parts": how.parts,
        "amp": how.amp,
    }
    if calibrate:
        temperatures, report["calibration"] = fit_and_report(dataset, logits)
        calibrated = probabilities(dataset.task, temperatures.apply(logits)).float()
        arrays |= {"calibrated": calibrated.numpy(), "temperatures": temperatures.values.numpy()}
    with replacing(out) as temporary, open(temporary, "wb") as file:  # an open file, as savez adds .npz to a bare name
        np.savez(file, allow_pickle=False, **arrays)
    report["arrays"] = {name: list(array.shape) for name, array in arrays.items()}
    return report


def _split_names(dataset: NodeDataset) -> np.ndarray:
    names = np.full(dataset.num_nodes, "", dtype="<U5")
    for name in ("train", "valid", "test"):
        names[getattr(dataset.split, name).numpy()] = name
    return names


def restore(
    run: Path | str,
    views: int | None,
    parts: int | None,
    root: Path | str | None,
    device: str | None,
    amp: str | None = None,
) -> tuple[Session, dict[str, Any], EvalConfig]:
    """A run with its best weights, what its folder notes of them, and how to evaluate: as in training, but for what is given."""
    folder = RunFolder(run)
    config = folder.config()
    changes = {"evaluation.views": views, "evaluation.parts": parts, "device": device, "evaluation.amp": amp}
    changes["data.root"] = None if root is None else str(Path(root).absolute())
    session = prepare(config.replace({key: value for key, value in changes.items() if value is not None}))
    return session, folder.restore_best(session), session.config.evaluation
