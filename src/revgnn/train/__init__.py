"""Training: a configuration in, a run folder out.

`train(config, out)` trains a run. Names are imported on first use, so that reading a configuration does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revgnn._lazy import lazy_names

if TYPE_CHECKING:
    from revgnn.train.config import DataConfig as DataConfig
    from revgnn.train.config import EvalConfig as EvalConfig
    from revgnn.train.config import OptimConfig as OptimConfig
    from revgnn.train.config import RunConfig as RunConfig
    from revgnn.train.config.errors import ConfigError as ConfigError
    from revgnn.train.inference.evaluate import evaluate_run as evaluate_run
    from revgnn.train.inference.predict import predict_run as predict_run
    from revgnn.train.inference.saved_run import LoadOptions as LoadOptions
    from revgnn.train.inference.views import infer as infer
    from revgnn.train.metrics import MetricError as MetricError
    from revgnn.train.metrics import Scores as Scores
    from revgnn.train.metrics import score as score
    from revgnn.train.run.changed_data import ChangedDataError as ChangedDataError
    from revgnn.train.run.folder import RunFolder as RunFolder
    from revgnn.train.run.folder import RunFolderError as RunFolderError
    from revgnn.train.run.footprint import Footprint as Footprint
    from revgnn.train.run.footprint import compare_footprint as compare_footprint
    from revgnn.train.run.loop import Interrupted as Interrupted
    from revgnn.train.run.loop import train as train
    from revgnn.train.run.optimization import Diverged as Diverged
    from revgnn.train.run.result import Result as Result
    from revgnn.train.run.tensor_file import CheckpointError as CheckpointError
    from revgnn.train.sweeps import sweep as sweep

__all__ = [
    "ChangedDataError",
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "Diverged",
    "EvalConfig",
    "Footprint",
    "Interrupted",
    "LoadOptions",
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

_HOMES = {
    "revgnn.train.config": ("ConfigError", "DataConfig", "EvalConfig", "OptimConfig", "RunConfig"),
    "revgnn.train.inference.evaluate": ("evaluate_run",),
    "revgnn.train.inference.predict": ("predict_run",),
    "revgnn.train.inference.saved_run": ("LoadOptions",),
    "revgnn.train.inference.views": ("infer",),
    "revgnn.train.metrics": ("MetricError", "Scores", "score"),
    "revgnn.train.run.changed_data": ("ChangedDataError",),
    "revgnn.train.run.folder": ("RunFolder", "RunFolderError"),
    "revgnn.train.run.footprint": ("Footprint", "compare_footprint"),
    "revgnn.train.run.loop": ("Interrupted", "train"),
    "revgnn.train.run.optimization": ("Diverged",),
    "revgnn.train.run.result": ("Result",),
    "revgnn.train.run.tensor_file": ("CheckpointError",),
    "revgnn.train.sweeps": ("sweep",),
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
