"""Seconds a layer and peak memory of a training step against depth, from 3 layers to 10,000, and against the number of groups.

    revgnn bench depth --plot

Three curves: reversing, storing every layer (for the depths that fit in memory), and PyTorch Geometric's `GroupAddRev` (for a few
depths). Gradients are checked first.

A machine's speed drifts by a tenth within a minute, and steps of very different length never meet the same minute. So networks are
timed in rounds, and every turn stands between two turns of one reference network (reversible, `--reference` layers): each
figure is set against the mean of its two neighbours. Shallow networks take several steps a turn. A straight line through the
networks up to the reference depth parts what a layer takes from what encoder, head and loss take; deeper ones do not bend it, they
are compared with it. "Over the reference" is a layer's time over that of a layer of the reference next to it: its own row tells how
far that figure can be trusted. A network of 10,000 layers takes one step.

Peak is live tensor bytes above weights and inputs. It holds the gradients of the parameters, which grow with depth whatever the
strategy: their size is given beside it. It is measured in a step of its own, since watching
every operator makes a step slower (by how much is in the line: `watched_seconds`).
Nothing is extrapolated. Each figure is on disk as soon as it is found.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks import harness, strategies
from benchmarks.peers.pyg import Variant
from benchmarks.step import Batch, Peer, check_aggregate, check_same_network, our_logits, our_model, step
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.models import num_parameters

DEPTHS = (3, 7, 14, 28, 56, 112, 1001, 10_000)
PEER_DEPTHS = (3, 7, 14)
GROUPS = (2, 4, 8, 16)
REVERSIBLE, STORED, PEER = "Reversible", "Backprop", "PyG GroupAddRev"
MOST_STEPS = 16
"""Of a turn."""
PEER_WEIGHT = 100
"""How many of our layers take the time of one of PyTorch Geometric's, roughly: for the estimate of the time left."""
WATCHED_WEIGHT = 1.3
"""The same of a watched layer."""
QUICK = {
    "nodes": 120, "edges": 800, "channels": 16, "depths": [1, 2], "peer_depths": [1], "groups_sweep": [2, 4],
    "sweep_depth": 1, "repeats": 2, "reference": 2,
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
    """In how many rounds a network of this depth takes a turn: `most` up to 1,000 layers, one from 10,000 on at the latest."""
    return max(1, min(most, round(most * 1000 / depth)))


def steps_a_turn(depth: int, reference: int) -> int:
    """As many as make a turn about as long as a step of the reference."""
    return max(1, min(MOST_STEPS, reference // depth))


def reference_steps(depth: int, reference: int) -> int:
    """Steps of the reference before and after a turn of this depth: a few beside a long one."""
    return max(1, min(5, depth // (4 * reference)))


def line_through(depths: Sequence[int], seconds: Sequence[float]) -> tuple[float, float] | None:
    """(a layer, outside the layers): the straight line with the least sum of squared *relative* errors, so that a thousand layers
    do not outvote three. None with fewer than two depths."""
    if len(set(depths)) < 2:
        return None
    y = np.array(seconds)
    basis = np.stack([np.array(depths, float), np.ones(len(y))], axis=1) / y[:, None]
    slope, outside = np.linalg.lstsq(basis, np.ones(len(y)), rcond=None)[0]
    return float(slope), float(outside)


def expected_bytes(points: Iterable[dict[str, Any]], depth: int) -> float | None:
    """What a stored network of this depth needs, along the line through the two deepest ones so far; None with fewer."""
    known = sorted((p["depth"], p["peak_bytes"]) for p in points if p["curve"] == STORED)
    if len(known) < 2:
        return None
    (low, at_low), (high, at_high) = known[-2:]
    return at_high + (at_high - at_low) / (high - low) * (depth - high)


@dataclass
class Network:
    """One that takes turns.

    Attributes:
        shape: depth and groups, among others.
        curve: how it is differentiated, and whose it is.
        model: its weights; between turns it has no gradients.
        step: forward, loss, backward.
        point: what is found, as the result has it.
    """

    shape: argparse.Namespace
    curve: str
    model: nn.Module
    step: Callable[[], None]
    point: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, shape: argparse.Namespace, curve: str, batch: Batch) -> Network:
        torch.manual_seed(0)
        if curve == PEER:
            peer = Peer(shape, Variant("shared"), batch)
            return cls(shape, curve, peer.model, peer.step)
        model = our_model(shape, batch.graph, gradient="reversible" if curve == REVERSIBLE else "backprop").train()
        return cls(shape, curve, model, step(model, our_logits, batch))

    @property
    def weight(self) -> float:
        """Time of a step in layers of ours, roughly."""
        return self.shape.depth * (PEER_WEIGHT if self.curve == PEER else 1)

    def steps(self, reference: int) -> int:
        return 1 if self.curve == PEER else steps_a_turn(self.shape.depth, reference)

    def watch(self) -> None:
        """Measure memory. It also is the warm-up."""
        start = time.perf_counter()
        peak = harness.memory({self.curve: self.step})[self.curve]
        self.point |= {
            "curve": self.curve, "depth": self.shape.depth, "groups": self.shape.groups, "peak_bytes": peak,
            "parameter_bytes": 4 * num_parameters(self.model), "watched_seconds": time.perf_counter() - start,
            "seconds": [], "reference_seconds": [],
        }  # fmt: skip
        self.drop()

    def turn(self, steps: int) -> float:
        """Seconds a step."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        seconds = (time.perf_counter() - start) / steps
        self.drop()
        return seconds

    def drop(self) -> None:
        self.model.zero_grad(set_to_none=True)  # others take their turn now, and this may be 500 MB

    def __str__(self) -> str:
        return f"{self.shape.depth:,} layers, {self.shape.groups} groups, {self.curve}"


def take_turns(
    networks: Sequence[Network], reference: Network, repeats: int, tick: Callable[..., None], keep: Callable[[], None]
) -> None:
    """Rounds, whose order turns from one to the next; before and after each turn the reference has one."""
    depth = reference.shape.depth
    for n in range(repeats):
        # those that leave off early are not in the later rounds
        taking = [network for network in networks if n < rounds(network.shape.depth, repeats)]
        taking = taking[n % len(taking) :] + taking[: n % len(taking)] if taking else []
        wanted = [1, *(reference_steps(network.shape.depth, depth) for network in taking), 1]
        before = reference.turn(max(wanted[:2])) if taking else 0.0
        for k, network in enumerate(taking):
            steps = network.steps(depth)
            if network.shape.depth > 4 * depth:
                expected = before / depth * network.weight
                tick(f"{network}: a step of about {expected:.0f} s", by=0)
            seconds = network.turn(steps)
            after = reference.turn(max(wanted[k + 1 : k + 3]))
            network.point["seconds"].append(seconds)
            network.point["reference_seconds"].append((before + after) / 2)
            before = after
            keep()
            tick(f"round {n + 1} of {repeats}: {network}", by=steps * network.weight)


def work_in_layers(networks: Sequence[Network], reference: int, repeats: int) -> float:
    """What `take_turns` ticks, in all."""
    return sum(rounds(n.shape.depth, repeats) * n.steps(reference) * n.weight for n in networks)


def finish(result: dict[str, Any]) -> None:
    """Add lines, and to each point the seconds a layer and their ratio to a layer of the reference, turn by turn."""
    reference, timed = result["reference"], [p for p in result["depths"] if p["seconds"]]
    relative = {id(p): [s / r for s, r in zip(p["seconds"], p["reference_seconds"], strict=True)] for p in timed}
    outside: dict[str, float] = {}
    result["lines"] = {}
    for curve in dict.fromkeys(p["curve"] for p in timed):
        mine = [p for p in timed if p["curve"] == curve]
        shallow = [p for p in mine if p["depth"] <= reference]
        basis = shallow if len(shallow) > 1 else mine
        line = line_through([p["depth"] for p in basis], [harness.Spread.of(relative[id(p)]).median for p in basis])
        space = line_through([p["depth"] for p in mine], [p["peak_bytes"] for p in mine])
        if line is not None and space is not None:
            outside[curve] = line[1]
            pace = harness.Spread.of([r for p in mine for r in p["reference_seconds"]]).median
            result["lines"][curve] = {
                "seconds_a_layer": line[0] * pace, "seconds_outside": line[1] * pace, "bytes_a_layer": space[0]
            }  # fmt: skip
    layer = (1 - outside.get(REVERSIBLE, 0.0)) / reference  # of the reference, in its steps
    for p in [*timed, *(p for p in result["groups"] if p["seconds"])]:
        # what lies outside the layers is the same for any number of groups
        off = outside.get(p["curve"], 0.0)
        turns = list(zip(p["seconds"], p["reference_seconds"], strict=True))
        p["layer_seconds"] = [(s - off * r) / p["depth"] for s, r in turns]
        p["over_reference"] = [(s / r - off) / p["depth"] / layer for s, r in turns]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("depth", __doc__)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2, help="of the networks whose depth varies")
    parser.add_argument("--depths", type=int, nargs="*", default=list(DEPTHS), help="layers; the deepest take minutes")
    parser.add_argument("--peer-depths", type=int, nargs="*", default=list(PEER_DEPTHS), help="PyTorch Geometric's")
    parser.add_argument("--groups-sweep", type=int, nargs="*", default=list(GROUPS), help="numbers of groups, at --sweep-depth")
    parser.add_argument("--sweep-depth", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--reference", type=int, default=112, help="layers of the network that stands between all turns")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; networks of more than 1,000 layers leave off earlier")
    parser.add_argument("--limit-gb", type=float, help="memory that storing networks may take; default: 60 percent of what is free")
    parser.add_argument("--plot", action="store_true", help="draw depth.svg and groups.svg")
    parser.add_argument("--redraw", action="store_true", help="draw the last line of the results again; measure nothing")
    parser.add_argument("--figures", type=Path, help="folder of the plots; default: docs/figures of a checkout, else the results'")
    args = harness.parse(parser, argv, QUICK)
    bad = [g for g in {args.groups, *args.groups_sweep} if g < 2 or args.channels % g]
    if bad:
        parser.error(f"--channels must be a multiple of the groups, which are 2 or more; {args.channels} does not go with {bad}")
    if any(depth < 1 for depth in (*args.depths, *args.peer_depths, args.sweep_depth, args.reference)):
        parser.error("a network has one layer or more")
    if args.figures is None:
        args.figures = harness.figures_folder() if not args.quick else args.results
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.redraw:
        last = json.loads((args.results / "depth.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        finish(last)
        draw(last, args)
        return 0
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    batch = Batch.on(graph)
    if not harness.all_right(lambda: check(args, batch)):
        return 1
    graph.by_source  # noqa: B018 # pyright: ignore[reportUnusedExpression] (all begin with the graph in the form they use)
    free = harness.available_bytes()
    limit = round(args.limit_gb * 1e9) if args.limit_gb else None if free is None else round(0.6 * free)
    sizes = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "repeats", "reference")}
    with harness.result_line("depth", {**sizes, "dtype": "float32"}, args) as result:
        result |= {"depths": [], "groups": [], "left_out": []}
        reference = Network.make(network(args, args.reference), REVERSIBLE, batch)
        reference.turn(1)
        try:
            # what takes hundreds of seconds a step comes when all else is on disk
            for deep in (False, True):
                wanted = [c for c in chosen(args) if (rounds(c.depth, args.repeats) < args.repeats) == deep]
                networks = watch_all(args, wanted, batch, limit, result)
                total = work_in_layers(networks, args.reference, args.repeats)
                with harness.progress("time", total, quiet=args.quick) as tick:
                    take_turns(networks, reference, args.repeats, tick, result.keep)
        finally:
            finish(result)
        if not args.json:
            print(show(result))
        if args.plot:
            draw(result, args)
    return 0


class Chosen(NamedTuple):
    """A network that is wanted, and the list its point goes to."""

    curve: str
    depth: int
    groups: int
    place: str


def chosen(args: argparse.Namespace) -> list[Chosen]:
    """Shallow ones first."""
    found = []
    for depth in sorted({*args.depths, *args.peer_depths}):
        curves = [REVERSIBLE, STORED] if depth in args.depths else []
        curves += [PEER] if depth in args.peer_depths else []
        found += [Chosen(curve, depth, args.groups, "depths") for curve in curves]
    return found + [Chosen(REVERSIBLE, args.sweep_depth, groups, "groups") for groups in args.groups_sweep]


def watch_all(
    args: argparse.Namespace, wanted: Sequence[Chosen], batch: Batch, limit: int | None, result: harness.Result
) -> list[Network]:
    """Make the networks and measure their memory. Adds a point each to `result`, or says that there is no room."""
    networks = []
    weights = [c.depth * (PEER_WEIGHT if c.curve == PEER else WATCHED_WEIGHT) for c in wanted]
    with harness.progress("memory", sum(weights), quiet=args.quick) as tick:
        for c, weight in zip(wanted, weights, strict=True):
            expected = expected_bytes(result["depths"], c.depth) if c.curve == STORED else None
            if expected is not None and limit is not None and expected >= limit:
                result["left_out"].append(
                    {"curve": c.curve, "depth": c.depth, "expected_bytes": expected, "limit_bytes": limit},
                )
                tick(f"{c.depth:,} layers, {c.curve}: left out", by=weight)
                continue
            if c.depth > 4 * args.reference:
                tick(f"{c.depth:,} layers, {c.curve}", by=0)
            gc.collect()
            made = Network.make(network(args, c.depth, c.groups), c.curve, batch)
            made.watch()
            networks.append(made)
            result[c.place].append(made.point)
            result.keep()
            tick(str(made), by=weight)
    return networks


def draw(result: dict[str, Any], args: argparse.Namespace) -> None:
    from benchmarks import plots  # matplotlib is wanted for this alone

    for path in (plots.by_depth(result, args.figures), plots.by_groups(result, args.figures)):
        if not args.json:
            print(f"drew {path}")


def show(result: dict[str, Any]) -> str:
    def row(p: dict[str, Any]) -> list[str]:
        layer = harness.Spread.of([1e3 * s for s in p["layer_seconds"]])
        return [
            p["curve"], f"{p['depth']:,}", str(p["groups"]), harness.Spread.of(p["seconds"]).text(), layer.text(),
            harness.Spread.of(p["over_reference"]).text(), harness.megabytes(p["peak_bytes"]),
            harness.megabytes(p["parameter_bytes"]),
        ]  # fmt: skip

    header = [
        "",
        "layers",
        "groups",
        "seconds a step, median (range)",
        "ms a layer",
        "over the reference",
        "peak",
        "of it gradients",
    ]
    sizes = "{nodes:,} nodes, {edges:,} edges, {channels} channels, float32".format(**result)
    turns = "{repeats} rounds; the reference is Reversible, {reference} layers, before and after every turn".format(**result)
    lines = [f"A training step; {sizes}; {turns}.\n", harness.table(header, map(row, result["depths"]))]
    for curve, line in result["lines"].items():
        lines.append(
            f"{curve}: {1e3 * line['seconds_a_layer']:.3g} ms (line up to {result['reference']} layers) and "
            f"{line['bytes_a_layer'] / 1e6:.3g} MB a layer, {1e3 * line['seconds_outside']:.3g} ms outside the layers"
        )
    lines += [
        f"left out: {p['curve']}, {p['depth']:,} layers, which would need about {p['expected_bytes'] / 1e9:,.0f} GB"
        for p in result["left_out"]
    ]
    if result["groups"]:
        lines.append("\n" + harness.table(header, map(row, result["groups"])))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
