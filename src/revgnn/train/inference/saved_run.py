"""A trained run, loaded from its folder for inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.data import NodeDataset, Pairs, make_links
from revgnn.data.readers.graph_files import find_graph_files
from revgnn.data.tables.options import OnBadRows
from revgnn.train.config import EvalConfig, RunConfig
from revgnn.train.inference.pairs import with_pairs
from revgnn.train.inference.views import ViewSpread
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.changed_data import ChangedDataError, check_found
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session, choose_device, make_batches, prepare
from revgnn.train.run.spread import Spread
from revgnn.train.run.team import ALONE, Team
from revgnn.train.run.tensor_file import CheckpointError


@dataclass(frozen=True)
class SavedRun:
    """A run with its best weights. `load_run` builds it."""

    folder: Path
    session: Session
    epoch: int
    """The epoch of the weights: the one with the best validation score."""
    is_new_graph: bool = False
    """Whether the data are other tables than those of the run's configuration."""
    thresholds: tuple[float, ...] | None = None
    """Thresholds of probabilities that the run chose on its validation nodes, if its score is F1 with thresholds."""
    team: Team = ALONE
    parallel: Spread = field(default_factory=Spread)

    @property
    def dataset(self) -> NodeDataset:
        return self.session.dataset

    @property
    def evaluation(self) -> EvalConfig:
        """How logits are computed: as saved with the run, with the changes given to `load_run`."""
        return self.session.config.evaluation

    def logits(self) -> Tensor:
        """Return the logits of all nodes in the leading process; see `infer`. All processes call this."""
        self.parallel.begin_inference(self.session, self.team)
        return self.parallel.infer(self.session)

    def logits_with_spread(self) -> ViewSpread:
        """Return the logits of all nodes and their deviation over the views; see `infer_with_spread`. All processes call this."""
        self.parallel.begin_inference(self.session, self.team)
        return self.parallel.infer_with_spread(self.session)


@dataclass(frozen=True)
class LoadOptions:
    """How a saved run is loaded. None keeps the value saved with the run."""

    views: int | None = None
    """Random partitions whose logits are averaged."""
    parts: int | None = None
    """Parts of each partition; 1 is the whole graph."""
    data: Path | str | None = None
    """The file or folder of the data set, if it was moved. For a run on tables: tables with the same columns, of the same graph
    or of another; they are read as the run read its own, and need no labels."""
    edges: Path | str | None = None
    """For tables: the table of edges, if it is not beside the nodes of `data`."""
    on_bad_rows: OnBadRows = "refuse"
    """For tables: as in `TableOptions`, for `data`."""
    pairs: Path | str | None = None
    """A table of the pairs of nodes to predict, for links and labels of edges; None: those of the data set."""
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
    team: Team = ALONE
    """The processes that compute logits together, each of which calls the same functions; see `revgnn.distributed`. All of them
    read the run and its data; only the leading one writes."""
    parallel: Spread = field(default_factory=Spread, compare=False)
    """How they share the work."""


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
    is_new_graph = options.data is not None and folder.tables() is not None
    config = saved.with_data_at(None if is_new_graph else options.data, options.root, options.node_features)
    if not is_new_graph:
        check_found(config, saved, folder.path)
    changes = {
        "evaluation.views": options.views,
        "evaluation.parts": options.parts,
        "device": options.device,
        "evaluation.amp": options.amp,
    }
    config = config.replace({key: value for key, value in changes.items() if value is not None})
    team = options.team
    with own_random_numbers(choose_device(config.device)):
        if is_new_graph:
            session = prepare(config, team.leader_first(lambda: _new_rows(folder, config, options)))
        else:
            session = team.leader_first(lambda: prepare(config))
    if is_new_graph:
        note = folder.restore_best(session, other_data=True)
    else:
        _check_same_encoding(folder, session.dataset)
        note = folder.restore_best(session, allow_changed_data=options.allow_changed_data)
        if options.pairs is not None:
            session.dataset = with_pairs(session.dataset, Path(options.pairs))
            session.batches = make_batches(session.config, session.dataset, session.device)
    if team.size > 1:
        options.parallel.check_inference(session, team)
    thresholds = thresholds_of(note, folder.best_file, session.dataset.num_outputs)
    return SavedRun(folder.path, session, note["epoch"], is_new_graph, thresholds, team, options.parallel)


def thresholds_of(note: Mapping[str, Any], file: Path, num_outputs: int) -> tuple[float, ...] | None:
    """Return the thresholds in the note of a file of weights; None if it has none.

    Raises:
        CheckpointError: if they are not as many probabilities as there are outputs.
    """
    values = note.get("thresholds")
    if values is None:
        return None
    is_list = isinstance(values, list) and len(values) == num_outputs
    if not is_list or not all(isinstance(v, int | float) and 0 <= v <= 1 for v in values):
        raise CheckpointError(f"{file} must hold {num_outputs} probabilities as thresholds, got {values!r}.")
    return tuple(values)


def _check_same_encoding(folder: RunFolder, dataset: NodeDataset) -> None:
    """Raise `ValueError` if the run's own tables would now give other inputs than in training."""
    stored = folder.tables()
    if stored is not None and dataset.tables is not None and stored.as_dict() != dataset.tables.stored.as_dict():
        raise ChangedDataError(
            f"the tables of {folder.path}, or {dataset.tables.report.spec}, have changed since the run was trained; to read them "
            f"as the run did, name them as new data: --data {dataset.source}."
        )


def _new_rows(folder: RunFolder, config: RunConfig, options: LoadOptions) -> NodeDataset:
    """Return the tables `options.data`, with the pairs to predict."""
    dataset = _new_graph(folder, config, options)
    return dataset if options.pairs is None else with_pairs(dataset, Path(options.pairs))


def _new_graph(folder: RunFolder, config: RunConfig, options: LoadOptions) -> NodeDataset:
    """Return the tables `options.data`, read as the run read its own: nothing is fitted again."""
    from revgnn.data.tables.dataset import read_like

    stored = folder.tables()
    assert stored is not None
    assert config.data is not None
    assert options.data is not None
    if config.data.node_features is not None:
        raise ValueError(
            f"{folder.path} was trained with data.node_features, which new nodes do not have; put the features into the tables."
        )
    edges = None if options.edges is None else Path(options.edges)
    files = find_graph_files(Path(options.data), edges, names=(stored.spec.nodes_file, stored.spec.edges_file))
    dataset = read_like(
        files,
        stored,
        drop_bad_rows=options.on_bad_rows == "drop",
        undirected=config.data.undirected,
        self_loops=config.data.self_loops,
    )
    if stored.spec.task == "links":
        if options.pairs is None:
            dataset = make_links(dataset)
        else:  # all edges of the new graph are known
            dataset = replace(dataset, pairs=Pairs(torch.zeros(2, dataset.num_nodes, dtype=torch.int64)))
    return dataset if config.data.metric is None else replace(dataset, metric=config.data.metric)
