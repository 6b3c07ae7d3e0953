"""Predictions of a trained run, written to an .npz file (`revgnn predict`).

The arrays of the file:

- `logits`: float32 (N, outputs): the mean over the views
- `probabilities`: float32 (N, outputs): a softmax over the classes, or a sigmoid of each logit
- `nodes`: int64 (N,): the nodes' numbers in the data set
- `splits`: text (N,): "train", "valid", "test" or ""
- with `spread`: `logits_std` and `probabilities_std`: float32 (N, outputs): sample standard deviation over the views
- with `calibrate`: `calibrated`: float32 (N, outputs): probabilities of the logits divided by their temperatures
- with `calibrate`: `temperatures`: float64 (outputs,), or (1,) for classes: fitted on the validation nodes
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.files import check_regular, replacing
from revgnn.train.inference.calibration import fit_and_report
from revgnn.train.inference.saved_run import AS_SAVED, LoadOptions, SavedRun, load_run
from revgnn.train.task import probabilities


def predict_run(
    run: Path | str,
    out: Path | str,
    options: LoadOptions = AS_SAVED,
    *,
    spread: bool = False,
    calibrate: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the predictions of a run's best weights for all nodes to an .npz file. The module's docstring lists its arrays.

    Args:
        run: the run's folder.
        out: the file to write.
        spread: add the deviation over the views. Needs two or more views of two or more parts.
        calibrate: add calibrated probabilities; see `fit_temperatures`.
        overwrite: replace `out` if it exists.

    Returns:
        The weights' epoch, the views, the shape of each array (`arrays`), and with `calibrate` a report (`calibration`);
        ready for JSON.

    Raises:
        ChangedDataError: if the data are not those that the run was trained on.
        ValueError, OSError: as in `evaluate_run`; also if there are too few views for a spread, or if `out` exists or cannot be
            written.
    """
    out = Path(out)
    _check_writable(out, overwrite=overwrite)
    saved = load_run(run, options)
    logits, arrays = _predict(saved, spread=spread)
    report: dict[str, Any] = {
        "run": str(run),
        "out": str(out),
        "dataset": saved.dataset.name,
        "epoch": saved.epoch,
        "views": saved.evaluation.views,
        "parts": saved.evaluation.parts,
        "amp": saved.evaluation.amp,
    }
    if calibrate:
        temperatures, report["calibration"] = fit_and_report(saved.dataset, logits)
        calibrated = probabilities(saved.dataset.task, temperatures.apply(logits)).float()
        arrays |= {"calibrated": calibrated.numpy(), "temperatures": temperatures.values.numpy()}
    with replacing(out) as temporary, open(temporary, "wb") as file:  # an open file, since savez appends .npz to a name
        np.savez(file, allow_pickle=False, **arrays)
    report["arrays"] = {name: list(array.shape) for name, array in arrays.items()}
    return report


def _check_writable(out: Path, *, overwrite: bool) -> None:
    """Raise `OSError` before hours of inference if their result could not be written."""
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} does not exist; create it, or choose another --out.")
    check_regular(out)
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; replace it with --overwrite, or choose another --out.")


def _predict(saved: SavedRun, *, spread: bool) -> tuple[Tensor, dict[str, np.ndarray]]:
    """Return the logits, and all arrays to write but the calibrated ones."""
    arrays: dict[str, np.ndarray] = {}
    if spread:
        over_views = saved.logits_with_spread()
        logits = over_views.logits
        arrays |= {"logits_std": over_views.logits_std.numpy(), "probabilities_std": over_views.probabilities_std.numpy()}
    else:
        logits = saved.logits()
    arrays |= {
        "logits": logits.numpy(),
        "probabilities": probabilities(saved.dataset.task, logits).numpy(),
        "nodes": np.arange(len(logits), dtype=np.int64),
        "splits": _split_names(saved.dataset),
    }
    return logits, arrays


def _split_names(dataset: NodeDataset) -> np.ndarray:
    names = np.full(dataset.num_nodes, "", dtype="<U5")
    for name in ("train", "valid", "test"):
        names[getattr(dataset.split, name).numpy()] = name
    return names
