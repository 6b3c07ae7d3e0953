"""The summary of a finished run: result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from revgnn.train.run.checkpoint import State
from revgnn.train.run.session import Session


@dataclass(frozen=True)
class Result:
    """The summary of a finished run. Scores are those of the epoch with the best validation score (best.safetensors)."""

    dataset: str
    metric: str
    split: int | str
    seed: int
    epochs: int
    stopped: str
    """Why training ended: "epochs" or "patience"."""
    best_epoch: int
    train: float | None
    valid: float
    test: float | None
    parameters: int
    seconds_per_epoch: float | None
    """Median over all epochs but the first, which compiles kernels and measures memory; None if metrics.jsonl is lost."""
    peak_bytes: int
    """Peak of tensors allocated in the first training epoch, above weights and data."""
    device: str
    solve_failures: int | None = None
    """Solves that did not converge, in training and evaluation; None for networks without an equilibrium, or if lines of
    metrics.jsonl are lost."""
    skipped_steps: int | None = None
    """Steps skipped since fp16 gradients overflowed; None in other precisions, or if lines of metrics.jsonl are lost."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(session: Session, state: State, metrics: list[dict[str, Any]], best: Mapping[str, Any]) -> Result:
    """Return the result of a finished run.

    Args:
        metrics: the lines of metrics.jsonl, without those that are lost.
        best: the note of best.safetensors: `epoch`, `valid`, `train`, `test`. Runs of earlier versions have the last two only in
            the line of that epoch.
    """
    assert session.config.data is not None  # `prepare` refuses a run without a data set
    assert best["epoch"] == state.best_epoch  # `train` has checked
    assert state.best_score is not None
    if "test" not in best:
        best = next((line for line in metrics if line["epoch"] == state.best_epoch), {"train": None, "test": None})
    seconds = [line["seconds"] for line in metrics]
    is_complete = len(metrics) == state.epoch
    return Result(
        dataset=session.dataset.name,
        metric=session.dataset.metric,
        split=session.config.data.split,
        seed=session.config.seed,
        epochs=state.epoch,
        stopped="epochs" if state.epoch >= session.config.epochs else "patience",
        best_epoch=state.best_epoch,
        train=best["train"],
        valid=state.best_score,
        test=best["test"],
        parameters=session.parameters,
        seconds_per_epoch=median(seconds[1:] or seconds) if seconds else None,
        peak_bytes=state.peak_bytes,
        device=str(session.device),
        solve_failures=_total(
            [line[name]["failures"] for line in metrics for name in ("solves", "evaluation_solves") if is_complete and name in line]
        ),
        skipped_steps=_total([line["skipped_steps"] for line in metrics if is_complete and "skipped_steps" in line]),
    )


def _total(counts: list[int]) -> int | None:
    return sum(counts) if counts else None
