"""A depth study on disk: depth.json, as `revgnn depth` wrote it. Reading it needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revgnn.train.config.errors import ConfigError

NAME = "depth.json"

VERSION = 1

_KEYS = {"cells", "families", "plan", "run", "metric", "compared", "level", "seconds", "finished", "larger_is_better"}


def read_study(folder: Path) -> dict[str, Any] | None:
    """Return the content of depth.json in a folder; None if it has none.

    Raises:
        ConfigError: if it is damaged, or of another version.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        missing = sorted(_KEYS - values.keys())
        version = values["version"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: it is damaged ({error}); {_ADVICE}") from None
    if missing:
        raise ConfigError(f"{path} is damaged: it has no {', '.join(missing)}; {_ADVICE}")
    if version != VERSION:
        raise ConfigError(f"{path} has version {version!r}, and this revgnn reads version {VERSION}; {_ADVICE}")
    return values


def learning_rate_of(study: Mapping[str, Any], cell: Mapping[str, Any]) -> float | None:
    """Return the learning rate with which the runs of a cell were trained; None if none is chosen yet.

    It is the chosen `optim.lr`, made smaller where the study has a `reference_depth` and the cell is deeper: the result of
    `revgnn.train.run.optimization.peak_rate`, without torch.
    """
    chosen = (cell["chosen"] or {}).get("optim.lr")
    reference = study["run"]["optim"].get("reference_depth")
    if chosen is None or reference is None:
        return chosen
    return chosen * min(1.0, math.sqrt(reference / cell["depth"]))


_ADVICE = "revgnn depth with another --out writes it again."
