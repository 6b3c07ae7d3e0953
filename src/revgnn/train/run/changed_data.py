"""Whether the data that a saved run finds are those that it was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revgnn.data.fingerprint import VERSION, Fingerprint, changed_parts


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
