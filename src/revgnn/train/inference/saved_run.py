"""A trained run, loaded from its folder for inference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.data.tables.files import find_tables
from revgnn.data.tables.options import OnBadRows
from revgnn.train.config import EvalConfig, RunConfig
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
    data: Path | str | None = None,
    edges: Path | str | None = None,
    on_bad_rows: OnBadRows = "refuse",
) -> SavedRun:
    """Load a run and its data. None keeps the value saved with the run.

    Args:
        run: the run's folder.
        views: random partitions whose logits are averaged.
        parts: parts of each partition; 1 is the whole graph.
        root: folder that holds the data now, if it was moved.
        device: "auto", "cpu" or "cuda".
        amp: precision of the forward pass: "none", "bf16" or "fp16".
        data: another graph than the run's own, for a run on tables: a folder with tables or a table of nodes, with the columns of
            the run's own. They are read as the run read its own: nothing is fitted again.
        edges: the table of edges, if it is not beside the nodes of `data`.
        on_bad_rows: as in `TableOptions`, for `data`.

    Raises:
        ValueError, OSError: if the folder, its weights or the data cannot be used.
    """
    folder = RunFolder(run)
    config = folder.config()
    changes = {"evaluation.views": views, "evaluation.parts": parts, "device": device, "evaluation.amp": amp}
    changes["data.root"] = None if root is None else str(Path(root).absolute())
    config = config.replace({key: value for key, value in changes.items() if value is not None})
    if data is None:
        session = prepare(config)
        _check_same_encoding(folder, session.dataset)
    else:
        session = prepare(config, _new_graph(folder, config, Path(data), edges, on_bad_rows))
    note = folder.restore_best(session)
    return SavedRun(folder.path, session, epoch=note["epoch"])


def _check_same_encoding(folder: RunFolder, dataset: NodeDataset) -> None:
    """Raise `ValueError` if the run's own tables would now give other inputs than in training."""
    stored = folder.tables()
    if stored is not None and dataset.tables is not None and stored.as_dict() != dataset.tables.stored.as_dict():
        raise ValueError(
            f"the tables of {folder.path}, or {dataset.tables.report.spec}, have changed since the run was trained; to read them "
            f"as the run did, name them as new data: --data {dataset.source}."
        )


def _new_graph(folder: RunFolder, config: RunConfig, data: Path, edges: Path | str | None, on_bad_rows: OnBadRows) -> NodeDataset:
    """Return tables, read as the run read its own."""
    from revgnn.data.tables.dataset import read_like

    stored = folder.tables()
    if stored is None or config.data is None:
        raise ValueError(f"{folder.path} was not trained on tables, so it cannot read new ones; --data is for runs on tables.")
    if config.data.node_features is not None:
        raise ValueError(
            f"{folder.path} was trained with data.node_features, which new nodes do not have; put the features into the tables."
        )
    files = find_tables(data, None if edges is None else Path(edges), names=(stored.spec.nodes_file, stored.spec.edges_file))
    return read_like(
        files,
        stored,
        drop_bad_rows=on_bad_rows == "drop",
        undirected=config.data.undirected,
        self_loops=config.data.self_loops,
    )
