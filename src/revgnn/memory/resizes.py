"""Storages that are resized: `UntypedStorage.resize_` is no operator, and no dispatch mode sees it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Follower(Protocol):
    """Wants to know when a storage has another size."""

    def record_resize(self, storage: torch.UntypedStorage) -> None: ...


_followers: list[Follower] = []

_resize = torch.UntypedStorage.resize_


@functools.wraps(_resize)
def _resize_and_record(self: torch.UntypedStorage, size: int) -> Any:
    out = _resize(self, size)
    for follower in _followers:
        follower.record_resize(self)
    return out


@contextmanager
def following_resizes(follower: Follower) -> Iterator[None]:
    """Tell the follower of each storage that is resized inside, by replacing the method as long as anybody follows."""
    _followers.append(follower)
    torch.UntypedStorage.resize_ = _resize_and_record
    try:
        yield
    finally:
        _followers.remove(follower)
        if not _followers:
            torch.UntypedStorage.resize_ = _resize
