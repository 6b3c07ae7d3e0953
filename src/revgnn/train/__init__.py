"""Training: a configuration in, a run folder out.

`train(config, out)` trains a run. Names are imported on first use, so that reading a configuration does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revgnn.train.config import DataConfig as DataConfig
    from revgnn.train.config import EvalConfig as EvalConfig
    from revgnn.train.config import OptimConfig as OptimConfig
    from revgnn.train.config import RunConfig as RunConfig
    from revgnn.train.config.errors import ConfigError as ConfigError
    from revgnn.train.inference.evaluate import evaluate_run as evaluate_run
    from revgnn.train.inference.predict import predict_run as predict_run
    from revgnn.train.inference.views import infer as infer
    from revgnn.train.metrics import MetricError as MetricError
    from revgnn.train.metrics import Scores as Scores
    from revgnn.train.metrics import score as score
    from revgnn.train.run.folder import RunFolder as RunFolder
    from revgnn.train.run.folder import RunFolderError as RunFolderError
    from revgnn.train.run.footprint import Footprint as Footprint
    from revgnn.train.run.footprint import compare_footprint as compare_footprint
    from revgnn.train.run.loop import Interrupted as Interrupted
    from revgnn.train.run.loop import train as train
    from revgnn.train.run.precision import Diverged as Diverged
    from revgnn.train.run.result import Result as Result
    from revgnn.train.run.tensor_file import CheckpointError as CheckpointError
    from revgnn.train.sweeps import sweep as sweep

_MODULE_OF = {
    "CheckpointError": "run.tensor_file",
    "ConfigError": "config.errors",
    "DataConfig": "config.run_config",
    "EvalConfig": "config.run_config",
    "Footprint": "run.footprint",
    "Interrupted": "run.loop",
    "MetricError": "metrics",
    "Diverged": "run.precision",
    "OptimConfig": "config.run_config",
    "Result": "run.result",
    "RunConfig": "config.run_config",
    "RunFolder": "run.folder",
    "RunFolderError": "run.folder",
    "Scores": "metrics",
    "compare_footprint": "run.footprint",
    "evaluate_run": "inference.evaluate",
    "infer": "inference.views",
    "predict_run": "inference.predict",
    "score": "metrics",
    "sweep": "sweeps",
    "train": "run.loop",
}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "Diverged",
    "EvalConfig",
    "Footprint",
    "Interrupted",
    "MetricError",
    "OptimConfig",
    "Result",
    "RunConfig",
    "RunFolder",
    "RunFolderError",
    "Scores",
    "compare_footprint",
    "evaluate_run",
    "infer",
    "predict_run",
    "score",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
