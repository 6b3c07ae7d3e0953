"""Long curves with fewer points, so that a page stays small."""

from __future__ import annotations

from collections.abc import Sequence


def thin_line(x: Sequence[float], y: Sequence[float], most: int) -> tuple[list[float], list[float]]:
    """Return at most `most` points of a curve, in their order, which look the same.

    The curve is cut into equal stretches. Of each the first, the last, the lowest and the highest point stay, so that no peak is
    lost.
    """
    count = len(x)
    if count <= most:
        return list(x), list(y)
    stretches = max(1, most // 4)
    kept: set[int] = set()
    for n in range(stretches):
        inside = range(n * count // stretches, (n + 1) * count // stretches)
        kept |= {inside[0], inside[-1], min(inside, key=lambda i: y[i]), max(inside, key=lambda i: y[i])}
    order = sorted(kept)
    return [x[i] for i in order], [y[i] for i in order]


def every_nth(count: int, most: int) -> list[int]:
    """Return at most `most` numbers below `count`, evenly spread."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]
