"""The configuration of a run. Costs no import of torch."""

from revgnn.train.config.errors import ConfigError
from revgnn.train.config.run_config import (
    FREE_ON_RESUME,
    Amp,
    Average,
    DataConfig,
    Device,
    DistillationConfig,
    EdgeStorage,
    EvalConfig,
    Features,
    Loss,
    OptimConfig,
    RunConfig,
)

__all__ = [
    "FREE_ON_RESUME",
    "Amp",
    "Average",
    "ConfigError",
    "DataConfig",
    "Device",
    "DistillationConfig",
    "EdgeStorage",
    "EvalConfig",
    "Features",
    "Loss",
    "OptimConfig",
    "RunConfig",
]
