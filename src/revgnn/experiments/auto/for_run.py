"""The choice for the data of a run."""

from __future__ import annotations

from revgnn.experiments.auto.choice import Choice, choose
from revgnn.experiments.auto.describe import describe
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.datasets import load_dataset


def choice_for(run: RunConfig) -> Choice:
    """Load the data of a run and return what fits them. Of several splits, the run's own is looked at.

    Raises:
        ValueError, OSError: if the data cannot be read.
    """
    if run.data is None:
        raise ConfigError("preset auto looks at the data, and none are named.")
    return choose(describe(load_dataset(run.data.model_copy(update={"features": "raw"}))))
