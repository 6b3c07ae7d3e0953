"""A trained run, loaded from its folder for inference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.train.config import EvalConfig
from revgnn.train.inference.views import ViewSpread, infer, infer_with_spread
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session, prepare


@dataclass(frozen=True)
class SavedRun:
    """A run with its best weights. `load_run` builds it."""

    folder: Path
    session: Session
    epoch: int
    """The epoch of the weights: the one with the best validation score."""

    @property
    def dataset(self) -> NodeDataset:
        return self.session.dataset

    @property
    def evaluation(self) -> EvalConfig:
        """How logits are computed: as saved with the run, with the changes given to `load_run`."""
        return self.session.config.evaluation

    def logits(self) -> Tensor:
        """Return the logits of all nodes; see `infer`."""
        return infer(self.session.model, self.session.batches, self.evaluation, self.session.config.seed)

    def logits_with_spread(self) -> ViewSpread:
        """Return the logits of all nodes and their deviation over the views; see `infer_with_spread`."""
        return infer_with_spread(self.session.model, self.session.batches, self.evaluation, self.session.config.seed)


def load_run(
    run: Path | str,
    *,
    views: int | None = None,
    parts: int | None = None,
    root: Path | str | None = None,
    device: str | None = None,
    amp: str | None = None,
) -> SavedRun:
    """Load a run and its data. None keeps the value saved with the run.

    Args:
        run: the run's folder.
        views: random partitions whose logits are averaged.
        parts: parts of each partition; 1 is the whole graph.
        root: folder that holds the data now, if it was moved.
        device: "auto", "cpu" or "cuda".
        amp: precision of the forward pass: "none", "bf16" or "fp16".

    Raises:
        ValueError, OSError: if the folder, its weights or the data cannot be used.
    """
    folder = RunFolder(run)
    config = folder.config()
    changes = {"evaluation.views": views, "evaluation.parts": parts, "device": device, "evaluation.amp": amp}
    changes["data.root"] = None if root is None else str(Path(root).absolute())
    session = prepare(config.replace({key: value for key, value in changes.items() if value is not None}))
    note = folder.restore_best(session)
    return SavedRun(folder.path, session, epoch=note["epoch"])
