"""Correlation of the predictions of several runs, and the score of their ensemble (supplement of arXiv:2106.07476)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn._words import OPTIONS, speaks_python
from revgnn.train.inference.saved_run import AS_SAVED, LoadOptions, SavedRun, load_run
from revgnn.train.metrics import score

Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Correlation:
    """A comparison of the predictions of R runs for the test nodes of one data set."""

    dataset: str
    metric: str
    num_test_nodes: int
    runs: tuple[str, ...]
    test: tuple[float, ...]
    """The score of each run."""
    pearson: Matrix
    """(R, R): Pearson coefficient of two runs' probabilities, or predicted numbers, over all test nodes and outputs; None if one is
    constant."""
    pearson_logits: Matrix
    """(R, R): Pearson coefficient of two runs' logits."""
    ensemble: float
    """Score of the mean of all runs' logits. Views are averaged in the same way."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@speaks_python(OPTIONS)
def correlate_runs(runs: Sequence[Path | str], options: LoadOptions = AS_SAVED) -> Correlation:
    """Compare the best weights of several runs on the same test nodes.

    Args:
        runs: folders of two or more runs.
        options: for every run.

    Raises:
        ValueError: for fewer than two runs, or if their test nodes or labels differ.
        OSError: if a folder, its weights or the data cannot be read.
    """
    if len(runs) < 2:
        raise ValueError(f"a correlation needs two runs or more, got {len(runs)}.")
    first: SavedRun | None = None
    logits: list[Tensor] = []
    for run in runs:
        saved = load_run(run, options)
        if first is None:
            first = saved
        else:
            _check_same_test_nodes(first, saved)
        logits.append(saved.logits()[saved.dataset.split.test])
    assert first is not None  # there are runs
    dataset, task = first.dataset, first.dataset.objective
    y = dataset.y[dataset.split.test]
    return Correlation(
        dataset=dataset.name,
        metric=dataset.metric,
        num_test_nodes=len(y),
        runs=tuple(str(run) for run in runs),
        test=tuple(score(dataset.metric, task, run_logits, y) for run_logits in logits),
        pearson=pearson([task.values(run_logits) for run_logits in logits]),
        pearson_logits=pearson(logits),
        ensemble=score(dataset.metric, task, torch.stack(logits).mean(dim=0), y),
    )


def pearson(predictions: Sequence[Tensor]) -> Matrix:
    """Return the Pearson coefficients of R tensors of one shape, over their entries: (R, R), with 1 on the diagonal.

    They are computed in float64. The coefficient of a constant tensor is undefined: None.
    """
    flat = torch.stack([p.flatten().double() for p in predictions])
    centred = flat - flat.mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1)
    # The mean of equal numbers has a rounding error, so a constant tensor may leave a small remainder.
    constant = norms <= 1e-12 * flat.norm(dim=1)
    unit = centred / norms.clamp(min=torch.finfo(torch.float64).tiny).unsqueeze(1)
    matrix = (unit @ unit.t()).clamp(-1.0, 1.0).fill_diagonal_(1.0)
    undefined = constant.unsqueeze(0) | constant.unsqueeze(1)
    rows = zip(matrix.tolist(), undefined.tolist(), strict=True)
    return tuple(tuple(None if is_undefined else value for value, is_undefined in zip(*row, strict=True)) for row in rows)


def _check_same_test_nodes(first: SavedRun, other: SavedRun) -> None:
    """Raise `ValueError` if two runs have different test nodes or labels, or no test nodes."""
    a, b = first.dataset, other.dataset
    if a.name != b.name:
        raise ValueError(f"{first.folder} is a run on {a.name} and {other.folder} on {b.name}; compare runs on one data set.")
    same_nodes = torch.equal(a.split.test, b.split.test)
    if not same_nodes or not torch.equal(a.y[a.split.test].nan_to_num(-1), b.y[b.split.test].nan_to_num(-1)):
        splits = [run.session.config.data and run.session.config.data.split for run in (first, other)]
        raise ValueError(
            f"{first.folder} (split {splits[0]}) and {other.folder} (split {splits[1]}) have other test nodes or labels; "
            "compare runs on one split."
        )
    if len(a.split.test) == 0:
        raise ValueError(f"{a.name} has no test nodes in this split; compare runs on a split with test nodes.")
