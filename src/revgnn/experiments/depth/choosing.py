"""The learning rate and dropout of one family and depth, chosen by validation scores alone, on data without test labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from revgnn.data import NodeDataset
from revgnn.data.dataset import Split
from revgnn.experiments.tune.halving import Terms, tune
from revgnn.experiments.tune.record import Record
from revgnn.experiments.tune.space import Candidate
from revgnn.train.config import RunConfig
from revgnn.train.run.events import Hook

FINALISTS = 2
"""Candidates that are trained to their end: the best after a third of the epochs may not be the best at the end."""


def without_test(dataset: NodeDataset) -> NodeDataset:
    """Return a data set that has no test rows: their labels are removed, and all splits but the one in use.

    What is trained on it cannot depend on a test label.
    """
    split, y = dataset.split, dataset.y.clone()
    y[split.test] = dataset.objective.no_labels(len(split.test)).to(y)
    nothing = torch.empty(0, dtype=torch.int64)
    return replace(dataset, y=y, splits=(Split(split.train, split.valid, nothing),), split_index=0)


def choose(
    run: RunConfig,
    candidates: Iterable[Candidate],
    out: Path,
    dataset: NodeDataset,
    *,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Record:
    """Compare candidates by successive halving, or go on with that, and return how far it has come.

    A third of them are trained for a third of the epochs, two to their end.

    Args:
        run: the run that candidates change.
        out: the folder of the search.
        dataset: see `without_test`.
    """
    terms = Terms(finalists=FINALISTS, first_goes_on=False, copy_best=False, dataset=dataset)
    return tune(run, candidates, out, budget=math.inf, resume=True, hooks=hooks, should_stop=should_stop, terms=terms)
