"""Loggers: hooks that send hyperparameters, metrics of each epoch and the result of a run to other tools.

| file | what it has |
|---|---|
| `values.py` | what is logged, under which names |
| `logger.py` | `Logger`: the hook, and `Backend`, what a tool must be able to do |
| `tensorboard.py` | `tensorboard()`: event files for TensorBoard |
| `wandb.py` | `wandb()`: a run of Weights & Biases |

Each tool is an extra, imported when its logger is made.
"""

from __future__ import annotations

from collections.abc import Callable

from revgnn.train.loggers.logger import Backend, Logger
from revgnn.train.loggers.tensorboard import tensorboard
from revgnn.train.loggers.wandb import wandb

__all__ = ["LOGGERS", "Backend", "Logger", "make_logger", "tensorboard", "wandb"]

LOGGERS: dict[str, Callable[[], Logger]] = {"tensorboard": tensorboard, "wandb": wandb}
"""Loggers by the name that the command line has for them."""


def make_logger(name: str) -> Logger:
    """Return the logger of that name.

    Raises:
        ValueError: if there is none.
        ImportError: if its extra is not installed.
    """
    if name not in LOGGERS:
        raise ValueError(f"runs can be logged to {' and '.join(LOGGERS)}, got {name!r}.")
    return LOGGERS[name]()
