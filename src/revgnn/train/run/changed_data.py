"""Whether the data that a saved run finds are those that it was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revgnn.data.fingerprint import VERSION, Fingerprint, changed_parts
from revgnn.train.config import ConfigError, RunConfig


class ChangedDataError(ValueError):
    """The data of a run are not those that it was trained on."""


def check_same_data(note: Mapping[str, Any], now: Fingerprint, folder: Path, *, allow_changed: bool = False) -> None:
    """Compare the data with those that weights or a state were trained on.

    Runs of earlier versions have no fingerprint: their data cannot be compared, and a warning says so.

    Args:
        note: the note of the weights or of the state, with the fingerprint as `data`.
        now: the fingerprint of the data that the run finds.
        folder: the run's folder, for the message.
        allow_changed: warn instead of raising.

    Raises:
        ChangedDataError: if the data differ. The message names what has changed.
    """
    before = note.get("data")
    if not isinstance(before, dict) or before.get("version") != VERSION:
        warnings.warn(
            f"the run in {folder} was saved by a version that did not record its data; whether they have changed is not known.",
            stacklevel=3,
        )
        return
    changes = changed_parts(before, now)
    if not changes:
        return
    what = f"the data of the run in {folder} are not those that it was trained on; changed: {', '.join(changes)}"
    if not allow_changed:
        raise ChangedDataError(
            f"{what}. Restore them, name the right ones with --data or --root, or go on all the same with --allow-changed-data."
        )
    warnings.warn(f"{what}.", stacklevel=3)


def check_found(config: RunConfig, saved: RunConfig, folder: Path) -> None:
    """Raise `ConfigError` if data are not where a saved run found them: they were moved, or it was made on another machine.

    Args:
        config: the configuration to load the data by. Paths in it that are not those of `saved` are left to the readers.
        saved: the run's configuration as it was saved.
        folder: the run's folder, for the message.
    """
    if config.data is None or saved.data is None:
        return
    for now, before, options in (
        (config.data.name, saved.data.name, "--data or --root"),
        (config.data.split_file, saved.data.split_file, "--root"),
        (config.data.node_features, saved.data.node_features, "--node-features or --root"),
    ):
        if now is not None and now == before and Path(now).is_absolute() and not Path(now).exists():
            raise ConfigError(f"the run in {folder} was trained on {now}, which is not there; say where it is now with {options}.")
