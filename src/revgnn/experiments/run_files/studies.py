"""A depth study on disk: depth.json, as `revgnn depth` wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from revgnn.train.config.errors import ConfigError

NAME = "depth.json"
"""As `revgnn.experiments.depth.record.NAME`, which cannot be imported without torch."""

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
        raise ConfigError(f"{path} cannot be read ({error}); revgnn depth --resume writes it again.") from None
    if version != VERSION or missing:
        what = f"has no {', '.join(missing)}" if version == VERSION else f"has version {version!r}; this revgnn reads {VERSION}"
        raise ConfigError(f"{path} {what}; revgnn depth --resume writes it again.")
    return values
