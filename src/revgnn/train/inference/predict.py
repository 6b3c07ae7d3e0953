"""Predictions of a trained run, written to a file (`revgnn predict`).

The columns of .csv, .parquet and .jsonl, one row a node, in the order of the data:

- the id, in a column named as in the data; `node`, a number, for data without ids
- `predicted`: the most probable class by name; for several labels a node `predicted_LABEL`, true or false; for numbers
  `predicted_TARGET`, in the units of the labels
- `probability_CLASS`: a softmax over the classes, or a sigmoid of each logit
- with `spread`: `spread_CLASS` or `spread_TARGET`: sample standard deviation over the views
- with `calibrate`: `calibrated_CLASS`: probabilities of the logits divided by their temperatures
- `split`: "train", "valid", "test" or nothing

The arrays of .npz:

- `logits`: float32 (N, outputs): the mean over the views
- `probabilities`: float32 (N, outputs): a softmax over the classes, or a sigmoid of each logit; `predictions` for numbers
- `nodes`: int64 (N,): the nodes' numbers in the data set; `graphs` if labels are those of graphs; `pairs`, (2, P), the two
  nodes of each pair
- `splits`: text (N,): "train", "valid", "test" or ""
- for tables: `ids` (N,), and `classes`: the names of the outputs (of a binary task: of no and yes)
- with `spread`: `logits_std` and `probabilities_std` (or `predictions_std`): float32 (N, outputs): sample standard deviation
  over the views
- with `calibrate`: `calibrated`: float32 (N, outputs): probabilities of the logits divided by their temperatures
- with `calibrate`: `temperatures`: float64 (outputs,), or (1,) for classes: fitted on the validation nodes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn._words import OPTIONS, speaks_python
from revgnn.data import NodeDataset
from revgnn.train.inference.answers import Answers, check_out, write_arrays, write_table
from revgnn.train.inference.calibration import fit_and_report
from revgnn.train.inference.saved_run import AS_SAVED, LoadOptions, SavedRun, load_run
from revgnn.train.inference.views import ViewSpread
from revgnn.train.run.folder import RunFolder


@speaks_python(OPTIONS)
def predict_run(
    run: Path | str,
    out: Path | str,
    options: LoadOptions = AS_SAVED,
    *,
    spread: bool = False,
    calibrate: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the predictions of a run's best weights for all nodes. The module's docstring lists the columns and arrays.

    Args:
        run: the run's folder, or that of a sweep: then values are means over its runs, and `spread` is that over the runs.
        out: the file to write, which ends in .csv, .parquet, .jsonl or .npz.
        spread: add the deviation over the views. Needs two or more views of two or more parts.
        calibrate: add calibrated probabilities; see `fit_temperatures`. Not for another graph, which has no validation nodes.
        overwrite: replace `out` if it exists.

    Returns:
        The weights' epoch, the views, the rows, the columns of a table (`columns`) or the shape of each array (`arrays`); for
        tables what was read (`read`) and unknown categories (`unknown`); with `calibrate` a report (`calibration`). Ready for JSON.

    Raises:
        ChangedDataError: if the data are not those that the run was trained on.
        ValueError, OSError: as in `evaluate_run`; also if there are too few views for a spread, or if `out` exists or cannot be
            written.
    """
    out, team = Path(out), options.team
    team.ask_leader(lambda: check_out(out, overwrite=overwrite))
    if folders := RunFolder.runs_of_sweep(run):
        if calibrate:
            raise ValueError("calibrate fits temperatures of one run, and this is a sweep; leave it out, or name one of its runs.")
        runs, logits = _logits_of_runs(folders, options, spread=spread)

        def write_mean() -> dict[str, Any]:
            saved, arrays = _mean_of_runs(runs, logits, spread=spread)
            report = {**_report(run, out, saved), "runs": [folder.name for folder in folders]}
            _write(saved, arrays, out, report)
            return report

        return team.ask_leader(write_mean)
    saved = load_run(run, options)
    if calibrate and (saved.is_new_graph or options.pairs is not None):
        what = "another graph does" if saved.is_new_graph else "pairs of your own do"
        raise ValueError(f"calibrate fits temperatures on the run's own validation nodes, which {what} not have; leave it out.")
    task = saved.dataset.objective
    if calibrate:
        task.calibration_columns(torch.zeros(0, task.num_outputs), task.no_labels(0))  # refused here, before anything is computed
    found = saved.logits_with_spread() if spread else saved.logits()

    def write() -> dict[str, Any]:
        logits, arrays = _arrays(saved, found)
        report = _report(run, out, saved)
        if calibrate:
            temperatures, report["calibration"] = fit_and_report(saved.dataset, logits)
            calibrated = task.values(temperatures.apply(logits)).float()
            arrays.update(calibrated=calibrated.numpy(), temperatures=temperatures.values.numpy())
        _write(saved, arrays, out, report)
        return report

    return team.ask_leader(write)


def _report(run: Path | str, out: Path, saved: SavedRun) -> dict[str, Any]:
    report: dict[str, Any] = {
        "run": str(run),
        "out": str(out),
        "dataset": saved.dataset.name,
        "epoch": saved.epoch,
        "views": saved.evaluation.views,
        "parts": saved.evaluation.parts,
        "amp": saved.evaluation.amp,
        "rows": saved.dataset.num_rows,
    }
    if saved.dataset.tables is not None:
        report |= {"unknown": saved.dataset.tables.unknown, "read": asdict(saved.dataset.tables.report)}
    return report


def _logits_of_runs(folders: Sequence[Path], options: LoadOptions, *, spread: bool) -> tuple[list[SavedRun], list[Tensor]]:
    """Return the runs of a sweep, and the logits of each.

    Raises:
        ValueError: if the runs do not predict the same rows.
    """
    if spread and len(folders) < 2:
        raise ValueError("a spread needs two runs, and the sweep has one; leave it out.")
    runs: list[SavedRun] = []
    logits: list[Tensor] = []
    for folder in folders:
        saved = load_run(folder, options)
        if runs and (saved.dataset.num_rows, saved.dataset.num_outputs) != (runs[0].dataset.num_rows, runs[0].dataset.num_outputs):
            raise ValueError(f"{folder} and {folders[0]} do not predict the same rows; predict with one of them.")
        runs.append(saved)
        logits.append(saved.logits())
    return runs, logits


def _mean_of_runs(runs: list[SavedRun], logits: list[Tensor], *, spread: bool) -> tuple[SavedRun, dict[str, np.ndarray]]:
    """Return the first run of a sweep, with thresholds that are means, and all arrays to write: means over the runs."""
    values = [saved.dataset.objective.values(found) for saved, found in zip(runs, logits, strict=True)]
    splits = [_split_names(saved.dataset) for saved in runs]
    first, name = runs[0], runs[0].dataset.objective.value_name
    arrays = {"logits": torch.stack(logits).mean(0).numpy(), name: torch.stack(values).mean(0).numpy()}
    if spread:
        arrays |= {"logits_std": torch.stack(logits).std(0).numpy(), f"{name}_std": torch.stack(values).std(0).numpy()}
    arrays[f"{first.dataset.row}s"] = np.arange(first.dataset.num_rows, dtype=np.int64)
    # a node that is in other parts of other splits is in none
    arrays["splits"] = np.where(np.all([part == splits[0] for part in splits], axis=0), splits[0], "")
    if first.dataset.pairs is not None:
        arrays["pairs"] = first.dataset.pairs.ends.numpy()
    thresholds = [saved.thresholds for saved in runs if saved.thresholds is not None]
    mean = None if len(thresholds) < len(runs) else tuple(np.mean(thresholds, axis=0).tolist())
    return replace(first, thresholds=mean), arrays


def _write(saved: SavedRun, arrays: dict[str, np.ndarray], out: Path, report: dict[str, Any]) -> None:
    """Write the predictions, and add their columns or arrays to the report."""
    dataset = saved.dataset
    if out.suffix.casefold() == ".npz":
        if dataset.tables is not None:
            ids, classes = dataset.tables.ids.to_numpy(zero_copy_only=False), np.array(dataset.tables.classes)
            arrays |= {"ids": ids.astype(str) if ids.dtype == object else ids, "classes": classes}
        write_arrays(arrays, out)
        report["arrays"] = {name: list(array.shape) for name, array in arrays.items()}
        return
    name = dataset.objective.value_name
    names = {name: "values", f"{name}_std": "spread", "calibrated": "calibrated"}
    values = {short: arrays[name] for name, short in names.items() if name in arrays}
    table = Answers(dataset, values, arrays["splits"], saved.thresholds).table()
    write_table(table, out)
    report["columns"] = table.column_names


def _arrays(saved: SavedRun, found: Tensor | ViewSpread) -> tuple[Tensor, dict[str, np.ndarray]]:
    """Return the logits, and all arrays to write but the calibrated ones."""
    task = saved.dataset.objective
    arrays: dict[str, np.ndarray] = {}
    if isinstance(found, ViewSpread):
        logits = found.logits
        arrays |= {"logits_std": found.logits_std.numpy(), f"{task.value_name}_std": found.probabilities_std.numpy()}
    else:
        logits = found
    arrays |= {
        "logits": logits.numpy(),
        task.value_name: task.values(logits).numpy(),
        f"{saved.dataset.row}s": np.arange(len(logits), dtype=np.int64),
        "splits": _split_names(saved.dataset),
    }
    if saved.dataset.pairs is not None:
        arrays["pairs"] = saved.dataset.pairs.ends.numpy()
    return logits, arrays


def _split_names(dataset: NodeDataset) -> np.ndarray:
    names = np.full(dataset.num_rows, "", dtype="<U5")
    if dataset.tables is not None and not dataset.tables.has_split:
        return names
    for name in ("train", "valid", "test"):
        names[getattr(dataset.split, name).numpy()] = name
    return names
