"""How the channels of a row are cut into tiles that registers can hold."""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor


def tile(channels: int, widest: int = 128) -> tuple[int, int]:
    """Cut channels into equal tiles: return `(lanes a tile, channels after padding)`.

    Up to `widest` channels are one tile as they are. Beyond, tiles are multiples of 16 lanes, and the channels are padded
    where that does not come out even.
    """
    if channels <= widest:
        return channels, channels
    tiles = math.ceil(channels / widest)
    lanes = math.ceil(channels / tiles / 16) * 16
    return lanes, lanes * math.ceil(channels / lanes)


@overload
def pad(t: Tensor, channels: int) -> Tensor: ...
@overload
def pad(t: None, channels: int) -> None: ...
def pad(t: Tensor | None, channels: int) -> Tensor | None:
    """Append zeros to the last dimension of `t`, up to `channels`. Returns `t` itself where nothing is missing."""
    if t is None or t.numel() == 0 or t.shape[-1] == channels:
        return t
    return torch.nn.functional.pad(t, (0, channels - t.shape[-1]))
