"""Seconds a layer and peak memory of a training step against depth, and against the number of groups.

    revgnn bench depth --plot

Three curves: reversing, storing every layer (for the depths that fit in memory), and PyTorch Geometric's `GroupAddRev` (for a few
depths). Shallow networks are timed for several steps each, in turns, and give a median; the deepest for one. A straight line
through each curve parts what a layer takes from what encoder, head and loss take. Gradients are checked first.

Peak is live tensor bytes above weights and inputs. It holds the gradients of the parameters, which grow with depth whatever the
strategy: their size is given beside it.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from revgnn.bench import harness, strategies
from revgnn.bench.peers.pyg import Variant
from revgnn.bench.step import Batch, Peer, check_aggregate, check_same_network, our_logits, our_model, step
from revgnn.data.synthetic import proteins_shaped
from revgnn.models import num_parameters

DEPTHS = (3, 7, 14, 28, 56, 112, 1001)
PEER_DEPTHS = (3, 7, 14)
GROUPS = (2, 4, 8, 16)
REVERSIBLE, STORED, PEER = "Reversible", "Backprop", "PyG GroupAddRev"
QUICK = {
    "nodes": 120, "edges": 800, "channels": 16, "depths": [1, 2], "peer_depths": [1], "groups_sweep": [2, 4],
    "sweep_depth": 1, "repeats": 2,
}  # fmt: skip


def check(args: argparse.Namespace, batch: Batch) -> None:
    """Every strategy gives the gradients of `Backprop`, the aggregation is right, and PyTorch Geometric's network is the same.

    Raises:
        AssertionError: if not; then nothing is timed.
    """
    check_aggregate(network(args, 3), batch.graph)
    strategies.check(network(args, 3), batch)
    if args.peer_depths:
        check_same_network(network(args, 3))


def network(args: argparse.Namespace, depth: int, groups: int | None = None) -> argparse.Namespace:
    return argparse.Namespace(family="reversible", channels=args.channels, groups=groups or args.groups, depth=depth)


def rounds(depth: int, most: int) -> int:
    """Timed steps at a depth: `most` up to 28 layers, one from 1,000 on."""
    return max(1, min(most, most * 28 // depth)) if depth < 1000 else 1


def line_through(depths: Sequence[int], seconds: Sequence[float]) -> tuple[float, float] | None:
    """(a layer, outside the layers): the straight line with the least sum of squared *relative* errors, so that a thousand layers
    do not outvote three. None with fewer than two depths."""
    if len(set(depths)) < 2:
        return None
    y = np.array(seconds)
    basis = np.stack([np.array(depths, float), np.ones(len(y))], axis=1) / y[:, None]
    slope, outside = np.linalg.lstsq(basis, np.ones(len(y)), rcond=None)[0]
    return float(slope), float(outside)


def fits(points: Iterable[dict[str, Any]], depth: int, limit: int | None) -> bool:
    """Whether a stored network of this depth stays below `limit` bytes, along the line through the two deepest ones so far."""
    known = sorted((p["depth"], p["peak_bytes"]) for p in points if p["curve"] == STORED)
    if limit is None or len(known) < 2:
        return True
    (low, at_low), (high, at_high) = known[-2:]
    return at_high + (at_high - at_low) / (high - low) * (depth - high) < limit


def measure(
    args: argparse.Namespace,
    shape: argparse.Namespace,
    batch: Batch,
    curves: Sequence[str],
    found: list[dict[str, Any]],
    tick: Callable[..., None],
) -> None:
    """Adds a point a curve to `found`, measured in turns."""
    gc.collect()
    work: dict[str, Callable[[], None]] = {}
    parameters = 0
    for curve in curves:
        torch.manual_seed(0)
        if curve == PEER:
            work[curve] = Peer(shape, Variant("shared"), batch).step
        else:
            model = our_model(shape, batch.graph, gradient="reversible" if curve == REVERSIBLE else "backprop").train()
            parameters = num_parameters(model)
            work[curve] = step(model, our_logits, batch)
    peak = {}
    for curve, run in work.items():
        peak |= harness.memory({curve: run})  # the warm-up, too
        tick(f"{shape.depth} layers, {shape.groups} groups, {curve}: memory", by=0)
    seconds = harness.interleaved(work, rounds(shape.depth, args.repeats))
    found += [
        {
            "curve": curve, "depth": shape.depth, "groups": shape.groups, "seconds": seconds[curve],
            "peak_bytes": peak[curve], "parameter_bytes": 4 * parameters,
        }
        for curve in work
    ]  # fmt: skip
    tick(f"{shape.depth} layers, {shape.groups} groups")


def fit_lines(points: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds a layer and outside, and bytes a layer (gradients of parameters included), of each curve with two depths or more."""
    lines = {}
    for curve in dict.fromkeys(p["curve"] for p in points):
        mine = [p for p in points if p["curve"] == curve]
        depths = [p["depth"] for p in mine]
        time = line_through(depths, [harness.Spread.of(p["seconds"]).median for p in mine])
        space = line_through(depths, [p["peak_bytes"] for p in mine])
        if time is not None and space is not None:
            lines[curve] = {"seconds_a_layer": time[0], "seconds_outside": time[1], "bytes_a_layer": space[0]}
    return lines


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("depth", __doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2, help="of the networks whose depth varies")
    parser.add_argument("--depths", type=int, nargs="*", default=list(DEPTHS), help="10000 is possible, too")
    parser.add_argument("--peer-depths", type=int, nargs="*", default=list(PEER_DEPTHS), help="PyTorch Geometric's")
    parser.add_argument("--groups-sweep", type=int, nargs="*", default=list(GROUPS), help="numbers of groups, at --sweep-depth")
    parser.add_argument("--sweep-depth", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of shallow networks")
    parser.add_argument("--limit-gb", type=float, help="memory that storing networks may take; default: 60 percent of what is free")
    parser.add_argument("--plot", action="store_true", help="draw depth.svg and groups.svg")
    parser.add_argument("--redraw", action="store_true", help="draw the last line of the results again; measure nothing")
    parser.add_argument("--figures", type=Path, help="folder of the plots; default: docs/figures of a checkout, else the results'")
    args = harness.parse(parser, argv, QUICK)
    bad = [g for g in {args.groups, *args.groups_sweep} if g < 2 or args.channels % g]
    if bad:
        parser.error(f"--channels must be a multiple of the groups, which are 2 or more; {args.channels} does not go with {bad}")
    if any(depth < 1 for depth in (*args.depths, *args.peer_depths, args.sweep_depth)):
        parser.error("a network has one layer or more")
    if args.figures is None:
        args.figures = harness.figures_folder() if not args.quick else args.results
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.redraw:
        draw(json.loads((args.results / "depth.jsonl").read_text(encoding="utf-8").splitlines()[-1]), args)
        return 0
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    batch = Batch.on(graph)
    if not harness.all_right(lambda: check(args, batch)):
        return 1
    graph.by_source  # noqa: B018 # pyright: ignore[reportUnusedExpression] (all begin with the graph in the form they use)
    free = harness.available_bytes()
    limit = round(args.limit_gb * 1e9) if args.limit_gb else None if free is None else round(0.6 * free)
    sizes = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "repeats")}
    depths = sorted({*args.depths, *args.peer_depths})
    with harness.result_line("depth", {**sizes, "dtype": "float32"}, args) as result:
        result |= {"depths": [], "groups": []}
        # the work of a step is a line in depth, roughly: the bar knows how long the deep ones take
        total = sum(depths) + len(args.groups_sweep) * args.sweep_depth
        with harness.progress("depth", total, quiet=args.quick) as tick:
            for depth in depths:
                curves = [REVERSIBLE] if depth in args.depths else []
                curves += [STORED] if depth in args.depths and fits(result["depths"], depth, limit) else []
                curves += [PEER] if depth in args.peer_depths else []
                measure(args, network(args, depth), batch, curves, result["depths"], lambda note, by=depth: tick(note, by))
            for groups in args.groups_sweep:
                shape = network(args, args.sweep_depth, groups)
                measure(args, shape, batch, [REVERSIBLE], result["groups"], lambda note, by=args.sweep_depth: tick(note, by))
        result["lines"] = fit_lines(result["depths"])
        if not args.json:
            print(show(result))
        if args.plot:
            draw(result, args)
    return 0


def draw(result: dict[str, Any], args: argparse.Namespace) -> None:
    from revgnn.bench import plots  # matplotlib is wanted for this alone

    for path in (plots.by_depth(result, args.figures), plots.by_groups(result, args.figures)):
        if not args.json:
            print(f"drew {path}")


def show(result: dict[str, Any]) -> str:
    outside = {curve: line["seconds_outside"] for curve, line in result["lines"].items()}

    def row(p: dict[str, Any]) -> list[str]:
        spread = harness.Spread.of(p["seconds"])
        layer = (spread.median - outside.get(p["curve"], 0.0)) / p["depth"]
        return [
            p["curve"], str(p["depth"]), str(p["groups"]), spread.text(), f"{1e3 * layer:.3g}",
            harness.megabytes(p["peak_bytes"]), harness.megabytes(p["parameter_bytes"]),
        ]  # fmt: skip

    header = ["", "layers", "groups", "seconds a step, median (range)", "ms a layer", "peak", "of it gradients"]
    sizes = "{nodes:,} nodes, {edges:,} edges, {channels} channels, float32".format(**result)
    lines = [f"A training step; {sizes}.\n", harness.table(header, map(row, result["depths"]))]
    for curve, line in result["lines"].items():
        lines.append(
            f"{curve}: {1e3 * line['seconds_a_layer']:.3g} ms and {line['bytes_a_layer'] / 1e6:.3g} MB a layer, "
            f"{1e3 * line['seconds_outside']:.3g} ms outside the layers"
        )
    if result["groups"]:
        lines.append("\n" + harness.table(header, map(row, result["groups"])))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
