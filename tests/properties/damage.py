"""What happens to files: bits that flip, ends that are missing, pieces that are doubled, moved or strange."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.properties.laws import expect

T = TypeVar("T")

LONGEST_MESSAGE = 2_000
"""Characters of an error message: about what a terminal shows."""


@dataclass(frozen=True)
class Damage:
    """A change of a file's bytes. `place` and `size` are shares of its length, so that one damage fits any file."""

    kind: str
    place: float
    size: float
    value: int

    def of(self, content: bytes, within: Sequence[int] | None = None) -> bytes:
        """The changed bytes; `within` are the places that may be changed, all by default."""
        places = range(len(content)) if within is None else within
        at = places[int(self.place * len(places))] if places else 0
        length = max(1, int(self.size * len(content)))
        piece = content[at : at + length]
        match self.kind:
            case "flip":
                return content[:at] + bytes([b ^ (1 << self.value % 8) for b in content[at : at + 1]]) + content[at + 1 :]
            case "byte":
                return content[:at] + bytes([self.value]) + content[at + 1 :]
            case "cut":
                return content[:at]
            case "lose the head":
                return content[at:]
            case "remove":
                return content[:at] + content[at + length :]
            case "repeat":
                return content[:at] + piece + content[at:]
            case "zero":
                return content[:at] + bytes(len(piece)) + content[at + length :]
            case "insert":
                return content[:at] + bytes([self.value]) * length + content[at:]
            case "append":
                return content + bytes([self.value]) * length
            case "text":
                return b"<!DOCTYPE html>\n<title>404 Not Found</title>"
            case "nothing":
                return b""
            case kind:
                raise ValueError(kind)

    def apply(self, path: Path, within: Sequence[int] | None = None) -> None:
        path.write_bytes(self.of(path.read_bytes(), within))


STRUCTURAL = ["cut", "lose the head", "remove", "repeat", "insert", "append", "text", "nothing"]
"""Changes of a file's length."""
KINDS = ["flip"] * 6 + ["byte"] * 2 + ["zero", *STRUCTURAL]
SHARE = st.floats(0, 1, exclude_max=True)


def damages(*kinds: str, values: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[Damage]:
    values = st.integers(0, 255) if values is None else values
    return st.builds(Damage, st.sampled_from(kinds or KINDS), SHARE, SHARE.map(lambda size: size**3), values)


def read_or_refuse(read: Callable[[], T], *files: Path | str) -> T | None:
    """Return what `read` does, or None if it refuses as it should: by one short line that names a file.

    Raises:
        AssertionError: if it refuses in another way.
    """
    try:
        return read()
    except (ValueError, OSError) as error:
        check_refusal(error, *files)
        return None


def check_refusal(error: Exception, *files: Path | str) -> None:
    """Assert that an error is one that the command line shows as a line: of a known kind, short, and with the name of a file."""
    kind, text = type(error).__name__, f"{getattr(error, 'filename', '') or ''} {error}"
    expect(isinstance(error, (ValueError, OSError)), f"ends in {kind}: {text[:500]}")
    expect(len(text) <= LONGEST_MESSAGE, f"a message of {len(text)} characters: {text[:300]} ...")
    named = any(str(file) in text for file in files)
    expect(named, f"{kind} names none of {[str(file) for file in files]}: {text[:500]}")


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, tensors and arrays within them included; NaN equals NaN."""
    import numpy as np
    import torch

    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return bool(torch.equal(one, other) or ((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))
