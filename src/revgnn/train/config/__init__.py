"""The configuration of a run. Imports no torch."""

from revgnn.train.config.errors import ConfigError
from revgnn.train.config.run_config import (
    ALSO_FREE_ON_RESUME,
    FREE_ON_RESUME,
    Device,
    Loss,
    RunConfig,
    digest_as_written,
    earlier_digests,
)
from revgnn.train.config.sections import (
    Amp,
    Average,
    DataConfig,
    DistillationConfig,
    EdgeStorage,
    EvalConfig,
    Features,
    OptimConfig,
)

__all__ = [
    "ALSO_FREE_ON_RESUME",
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
    "digest_as_written",
    "earlier_digests",
]
