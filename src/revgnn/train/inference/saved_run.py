"""A trained run, loaded from its folder for inference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.train.config import EvalConfig
from revgnn.train.inference.views import ViewSpread, infer, infer_with_spread
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.changed_data import check_found
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session, choose_device, prepare


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


@dataclass(frozen=True)
class LoadOptions:
    """How a saved run is loaded. None keeps the value saved with the run."""

    views: int | None = None
    """Random partitions whose logits are averaged."""
    parts: int | None = None
    """Parts of each partition; 1 is the whole graph."""
    data: Path | str | None = None
    """The file or folder of the data set, if it was moved."""
    root: Path | str | None = None
    """The folder that holds the data now, if it was moved."""
    node_features: Path | str | None = None
    """The file `data.node_features`, if it was moved."""
    device: str | None = None
    """"auto", "cpu" or "cuda"."""
    amp: str | None = None
    """Precision of the forward pass: "none", "bf16" or "fp16"."""
    allow_changed_data: bool = False
    """Warn, instead of raising, if the data are not those that the run was trained on."""


AS_SAVED = LoadOptions()
"""Everything as it was saved with the run."""


def load_run(run: Path | str, options: LoadOptions = AS_SAVED) -> SavedRun:
    """Load a run and its data. Torch's random generators are left unchanged.

    Args:
        run: the run's folder.

    Raises:
        ChangedDataError: if the data are not those that the run was trained on.
        ValueError, OSError: if the folder, its weights or the data cannot be used.
    """
    folder = RunFolder(run)
    saved = folder.config()
    config = saved.with_data_at(options.data, options.root, options.node_features)
    check_found(config, saved, folder.path)
    changes = {
        "evaluation.views": options.views,
        "evaluation.parts": options.parts,
        "device": options.device,
        "evaluation.amp": options.amp,
    }
    config = config.replace({key: value for key, value in changes.items() if value is not None})
    with own_random_numbers(choose_device(config.device)):
        session = prepare(config)
    note = folder.restore_best(session, allow_changed_data=options.allow_changed_data)
    return SavedRun(folder.path, session, epoch=note["epoch"])
