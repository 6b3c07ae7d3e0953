"""Training: a configuration in, a run folder out.

`train(config, out)` is the whole of it; the names below are loaded when first used, since the configuration alone should
cost no import of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revgnn.train.config import DataConfig as DataConfig
    from revgnn.train.config import EvalConfig as EvalConfig
    from revgnn.train.config import OptimConfig as OptimConfig
    from revgnn.train.config import RunConfig as RunConfig
    from revgnn.train.config_errors import ConfigError as ConfigError
    from revgnn.train.evaluation import Scores as Scores
    from revgnn.train.evaluation import infer as infer
    from revgnn.train.footprint import Footprint as Footprint
    from revgnn.train.footprint import compare_footprint as compare_footprint
    from revgnn.train.loop import Interrupted as Interrupted
    from revgnn.train.loop import train as train
    from revgnn.train.metrics import MetricError as MetricError
    from revgnn.train.metrics import score as score
    from revgnn.train.result import Result as Result
    from revgnn.train.reuse import evaluate_run as evaluate_run
    from revgnn.train.reuse import predict_run as predict_run
    from revgnn.train.run_folder import RunFolder as RunFolder
    from revgnn.train.run_folder import RunFolderError as RunFolderError
    from revgnn.train.session import Diverged as Diverged
    from revgnn.train.sweeps import sweep as sweep
    from revgnn.train.tensor_file import CheckpointError as CheckpointError

_MODULE_OF = {
    "CheckpointError": "tensor_file",
    "ConfigError": "config_errors",
    "DataConfig": "config",
    "EvalConfig": "config",
    "Footprint": "footprint",
    "Interrupted": "loop",
    "MetricError": "metrics",
    "Diverged": "session",
    "OptimConfig": "config",
    "Result": "result",
    "RunConfig": "config",
    "RunFolder": "run_folder",
    "RunFolderError": "run_folder",
    "Scores": "evaluation",
    "compare_footprint": "footprint",
    "evaluate_run": "reuse",
    "infer": "evaluation",
    "predict_run": "reuse",
    "score": "metrics",
    "sweep": "sweeps",
    "train": "loop",
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
