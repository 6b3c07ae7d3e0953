"""Sums with an exact inverse: additions on a grid of multiples of 2^-q."""

from revgnn.ops.grid.api import MANTISSA, advance, checksum, limit, retreat, round_to_grid

__all__ = ["MANTISSA", "advance", "checksum", "limit", "retreat", "round_to_grid"]
