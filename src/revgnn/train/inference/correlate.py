"""How alike several runs predict, and how well they do together (supplement of arXiv:2106.07476, correlation of predictions)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.train.inference.evaluation import infer, probabilities
from revgnn.train.inference.saved_runs import restore
from revgnn.train.metrics import score
from revgnn.train.run.session import Session

Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Correlation:
    """Predictions of R runs for the test nodes of one data set, compared."""

    dataset: str
    metric: str
    num_test_nodes: int
    runs: tuple[str, ...]
    test: tuple[float, ...]
    """Each run's own score."""
    pearson: Matrix
    """(R, R): Pearson coefficient of two runs' probabilities, over all test nodes and outputs; None where one is constant."""
    pearson_logits: Matrix
    """(R, R): the same of their logits."""
    ensemble: float
    """Score of the mean of all runs' logits, which is also how views are put together."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def correlate_runs(
    runs: Sequence[Path | str],
    *,
    views: int | None = None,
    parts: int | None = None,
    root: Path | str | None = None,
    device: str | None = None,
) -> Correlation:
    """Compare the best weights of several runs on the same test nodes.

    Args:
        runs: folders of two runs or more.
        views, parts, root, device: as in `evaluate_run`, for every run; default: each run's own.

    Raises:
        ValueError: fewer than two runs, or runs whose test nodes or labels differ.
        OSError: if a folder, its weights or the data cannot be read.
    """
    if len(runs) < 2:
        raise ValueError(f"a correlation is of two runs or more, got {len(runs)}.")
    reference: Session | None = None
    logits: list[Tensor] = []
    for run in runs:
        session, _, how = restore(run, views, parts, root, device)
        if reference is None:
            reference = session
        else:
            _check_same_test(reference, session, runs[0], run)
        logits.append(infer(session.model, session.batches, how, session.config.seed)[session.dataset.split.test])
    assert reference is not None  # there are runs
    dataset = reference.dataset
    y = dataset.y[dataset.split.test]
    return Correlation(
        dataset=dataset.name,
        metric=dataset.metric,
        num_test_nodes=len(y),
        runs=tuple(str(run) for run in runs),
        test=tuple(score(dataset.metric, dataset.task, of_run, y) for of_run in logits),
        pearson=pearson([probabilities(dataset.task, of_run) for of_run in logits]),
        pearson_logits=pearson(logits),
        ensemble=score(dataset.metric, dataset.task, torch.stack(logits).mean(dim=0), y),
    )


def pearson(predictions: Sequence[Tensor]) -> Matrix:
    """Pearson coefficients of R tensors of one shape, entry by entry: (R, R) with 1 on the diagonal, worked out in float64.

    A constant tensor correlates with nothing: None.
    """
    flat = torch.stack([p.flatten().double() for p in predictions])
    centred = flat - flat.mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1)
    # The mean of equal numbers is off by a rounding; what is left after taking it away is not a signal.
    constant = norms <= 1e-12 * flat.norm(dim=1)
    unit = centred / norms.clamp(min=torch.finfo(torch.float64).tiny).unsqueeze(1)
    matrix = (unit @ unit.t()).clamp(-1.0, 1.0).fill_diagonal_(1.0)
    undefined = constant.unsqueeze(0) | constant.unsqueeze(1)
    rows = zip(matrix.tolist(), undefined.tolist(), strict=True)
    return tuple(tuple(None if skip else value for value, skip in zip(*row, strict=True)) for row in rows)


def _check_same_test(one: Session, other: Session, one_name: Path | str, other_name: Path | str) -> None:
    a, b = one.dataset, other.dataset
    if a.name != b.name:
        raise ValueError(f"{one_name} is a run on {a.name} and {other_name} on {b.name}; compare runs on one data set.")
    same_nodes = torch.equal(a.split.test, b.split.test)
    if not same_nodes or not torch.equal(a.y[a.split.test].nan_to_num(-1), b.y[b.split.test].nan_to_num(-1)):
        raise ValueError(
            f"{one_name} (split {one.config.data and one.config.data.split}) and {other_name} "
            f"(split {other.config.data and other.config.data.split}) have other test nodes or labels; compare runs on one split."
        )
    if len(a.split.test) == 0:
        raise ValueError(f"{a.name} has no test nodes in this split; there is nothing to compare.")
