"""The note of best.safetensors, read from the head of the file without its weights; and a digest of the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_LONGEST = 1 << 26
"""Bytes of a head. That of a network with 100,000 tensors has about 10 MB."""


def read_weights_note(file: Path) -> dict[str, Any]:
    """Return the note; empty if there is no file, or none that can be read."""
    try:
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            head = json.loads(opened.read(length)) if length <= _LONGEST else {}
        note = json.loads(head["__metadata__"]["note"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def weights_digest(run: Path) -> str:
    """Return a digest of the best weights of a run, by which one knows what was computed from them.

    Raises:
        OSError: if there are none.
    """
    return hashlib.sha256((run / "best.safetensors").read_bytes()).hexdigest()
