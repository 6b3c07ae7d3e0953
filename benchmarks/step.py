"""Our training step beside PyTorch Geometric's, in turns, in one process, on the shape of one training batch of ogbn-proteins.

    python -m benchmarks step --channels 64 --groups 2 --depth 7

First both networks get the same weights and must give the same logits and gradients in float64, and the fused aggregation must
agree with its definition on a part of the graph; otherwise nothing is timed. A step is forward pass, loss and backward pass, in
training mode.

PyTorch Geometric can be set up in many ways. Without --peers each is tried for one step. The fastest with the shared edge encoder
(the paper's network, and ours) and the fastest without it (a smaller network) then take turns with ours. The speed-up that counts
is the one over the faster of the two. A variant whose gradients differ from those of the plain one is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks import harness
from benchmarks.checks import check_aggregate, check_same_network
from benchmarks.networks import Batch, Shape, add_shape_options, index_by_source, revgnn_logits, revgnn_model, training_step
from benchmarks.peers.pyg import VARIANTS, Variant
from benchmarks.peers.trials import Peer, Trials, run_trials
from revgnn.data.generated.synthetic import proteins_shaped

SHAPES = {"narrow": {"channels": 64, "groups": 2, "depth": 7}, "wide": {"channels": 224, "groups": 4, "depth": 3}}
"""The two shapes that the documentation quotes."""
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 2, "repeats": 2, "peers": ["shared", "raw+EdgeIndex"]}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("step", __doc__)
    parser.add_argument("--family", choices=["reversible", "residual"], default="reversible")
    parser.add_argument("--shape", choices=SHAPES, help="sets channels, groups and depth: narrow is 64, 2, 7; wide is 224, 4, 3")
    add_shape_options(parser)
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds; a round is one step of each")
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="PEER",
        help="these set-ups of PyTorch Geometric instead of the fastest: shared or raw, with +EdgeIndex, +compiled, +storing",
    )
    args = harness.parse(parser, argv, QUICK)
    for key, value in SHAPES.get(args.shape, {}).items():
        setattr(args, key, value)
    try:
        args.peers = [Variant.of(text) for text in args.peers] if args.peers else None
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    shape = Shape.of(args)._replace(family=args.family)
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    if not harness.checks_pass(lambda: check_aggregate(shape.width, graph), lambda: check_same_network(shape)):
        return 1
    batch = Batch.on(graph)
    index_by_source(graph)
    keys = ("family", "channels", "groups", "depth", "nodes", "edges", "repeats")
    sizes = {**{key: getattr(args, key) for key in keys}, "dtype": "float32"}
    with harness.result_line("step", sizes, args) as result:
        peers = measure(args, shape, batch, result)
        add_ratios(result)
        if not args.json:
            print(show(result, peers))
    return 0


def measure(args: argparse.Namespace, shape: Shape, batch: Batch, result: harness.Result) -> list[Variant]:
    """Choose the peers, and measure ours and them. Fill in `result`, and return the peers."""
    trials = Trials({}, {}, {})
    variants = args.peers or VARIANTS
    result |= {"heats": trials._asdict(), "seconds": {}, "peak_bytes": {}}
    with harness.progress("trying PyTorch Geometric", len(variants), quiet=args.quick) as tick:
        peers = run_trials(shape, variants, batch, trials, tick)
    if args.peers:  # all of them take turns, not only the fastest
        peers = {v: peers.get(v) or Peer(shape, v, batch) for v in variants if str(v) in trials.seconds}
    ours = training_step(revgnn_model(shape, batch.graph).train(), revgnn_logits, batch)
    ours()  # compiles the kernels for these widths
    result["peak_bytes"] |= harness.peak_memory({"revgnn": ours})
    result["peak_bytes"] |= {f"PyG, {v}": trials.peak_bytes[str(v)] for v in peers}
    contestants = {"revgnn": ours} | {f"PyG, {v}": peer.step for v, peer in peers.items()}
    if args.peers:
        for peer in peers.values():
            peer.step()
    with harness.progress("in turns", args.repeats * len(contestants), quiet=args.quick) as tick:
        harness.interleaved(contestants, args.repeats, into=result["seconds"], tick=tick)
    return list(peers)


def add_ratios(result: dict[str, Any]) -> None:
    """Add the speed-ups over each peer, and the name of the peer that counts: the fastest."""
    seconds = result["seconds"]
    faster = {name: harness.ratios(seconds[name], seconds["revgnn"]) for name in seconds if name != "revgnn"}
    result["speed_up"] = {name: spread._asdict() for name, spread in faster.items()}
    result["counts"] = min(faster, key=lambda name: harness.Spread.of(seconds[name]).median, default=None)


def show(result: Mapping[str, Any], peers: Sequence[Variant]) -> str:
    """Return the table and what surrounds it."""
    seconds, peak, faster = result["seconds"], result["peak_bytes"], result["speed_up"]
    titles = {"revgnn": "revgnn"} | {f"PyG, {v}": v.title(result["family"]) for v in peers}
    rows = [
        [
            titles[name] + (" (counts)" if name == result["counts"] else ""),
            harness.Spread.of(seconds[name]).text(),
            "not counted" if peak[name] is None else harness.megabytes(peak[name]),
            harness.Spread(**faster[name]).text() if name in faster else "",
        ]
        for name in seconds
    ]
    sizes = "{nodes:,} nodes, {edges:,} edges, {channels} channels, {groups} groups, {depth} layers, float32".format(**result)
    lines = [
        f"One training step, {result['family']}, {sizes}; {result['repeats']} rounds in turns.",
        f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}, commit {result['commit']}\n",
        harness.table(["", "seconds, median (range)", "peak", "revgnn is faster by, median (range)"], rows),
    ]
    trials = result["heats"]
    if trials["seconds"]:
        tried = ", ".join(f"{name} {s:.3g} s" for name, s in sorted(trials["seconds"].items(), key=lambda item: item[1]))
        lines.append(f"\nTried, one step each: {tried}.")
    lines += [f"Left out: {name} ({reason})" for name, reason in trials["left_out"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
