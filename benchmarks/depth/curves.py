"""From measured points to curves: the time of a layer, and the memory of a deeper network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.depth.networks import REVERSIBLE, STORED


def line_through(depths: Sequence[int], seconds: Sequence[float]) -> tuple[float, float] | None:
    """Fit a straight line and return (seconds of a layer, seconds outside the layers); None for fewer than two depths.

    It minimises the sum of squared *relative* errors, so that a network of a thousand layers does not outweigh one of three.
    """
    if len(set(depths)) < 2:
        return None
    y = np.array(seconds)
    basis = np.stack([np.array(depths, float), np.ones(len(y))], axis=1) / y[:, None]
    slope, outside = np.linalg.lstsq(basis, np.ones(len(y)), rcond=None)[0]
    return float(slope), float(outside)


def expected_bytes(points: Iterable[dict[str, Any]], depth: int) -> float | None:
    """Return what a stored network of this depth needs, on the line through the two deepest so far; None for fewer than two."""
    known = sorted((p["depth"], p["peak_bytes"]) for p in points if p["curve"] == STORED)
    if len(known) < 2:
        return None
    (low, at_low), (high, at_high) = known[-2:]
    return at_high + (at_high - at_low) / (high - low) * (depth - high)


def add_curves(result: dict[str, Any]) -> None:
    """Add `lines`, and to each timed point `layer_seconds` and `over_reference`, one value a turn.

    A line is fitted through the networks up to the reference's depth, whose times are divided by the reference's beside them.
    """
    reference, timed = result["reference"], [p for p in result["depths"] if p["seconds"]]
    relative = {id(p): [s / r for s, r in zip(p["seconds"], p["reference_seconds"], strict=True)] for p in timed}
    outside: dict[str, float] = {}
    result["lines"] = {}
    for curve in dict.fromkeys(p["curve"] for p in timed):
        points = [p for p in timed if p["curve"] == curve]
        shallow = [p for p in points if p["depth"] <= reference]
        basis = shallow if len(shallow) > 1 else points
        line = line_through([p["depth"] for p in basis], [harness.Spread.of(relative[id(p)]).median for p in basis])
        memory = line_through([p["depth"] for p in points], [p["peak_bytes"] for p in points])
        if line is not None and memory is not None:
            outside[curve] = line[1]
            step = harness.Spread.of([r for p in points for r in p["reference_seconds"]]).median
            result["lines"][curve] = {
                "seconds_a_layer": line[0] * step, "seconds_outside": line[1] * step, "bytes_a_layer": memory[0]
            }  # fmt: skip
    layer = (1 - outside.get(REVERSIBLE, 0.0)) / reference  # of the reference, as a fraction of its step
    for p in [*timed, *(p for p in result["groups"] if p["seconds"])]:
        # the time outside the layers does not depend on the number of groups
        off = outside.get(p["curve"], 0.0)
        turns = list(zip(p["seconds"], p["reference_seconds"], strict=True))
        p["layer_seconds"] = [(s - off * r) / p["depth"] for s, r in turns]
        p["over_reference"] = [(s / r - off) / p["depth"] / layer for s, r in turns]
