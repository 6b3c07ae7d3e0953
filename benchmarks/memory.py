"""Peak memory of a training step: ours beside PyTorch Geometric's, and of the paper's rows.

    revgnn bench memory --rows RevGNN-64 RevGNN-224

For the shapes, peak is live tensor bytes above weights and inputs within a step, and both networks are the same function. For the
rows of the paper's table 2 it is all that is alive at the peak: batch, weights, gradients, Adam's moments, what the step allocates.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks import harness
from benchmarks.peers.pyg import Variant
from benchmarks.step import Batch, Peer, check_aggregate, check_same_network, our_logits, our_model, step
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.experiments.paper import get_table
from revgnn.experiments.paper.measure import generated_batch, step_memory

TABLE = "table2"
QUICK = {"nodes": 200, "edges": 3000, "shapes": ["16x2x2"], "rows": ["RevGNN-64"]}


def shape(text: str) -> argparse.Namespace:
    """ "64x2x7" is 64 channels, 2 groups, 7 layers."""
    numbers = text.split("x")
    if len(numbers) != 3 or not all(n.isdecimal() for n in numbers):
        raise argparse.ArgumentTypeError(f"a shape is CHANNELSxGROUPSxLAYERS, such as 64x2x7; got {text!r}")
    channels, groups, depth = map(int, numbers)
    return argparse.Namespace(family="reversible", channels=channels, groups=groups, depth=depth)


def measure_shape(network: argparse.Namespace, batch: Batch) -> dict[str, Any]:
    gc.collect()
    work = {
        "revgnn": step(our_model(network, batch.graph).train(), our_logits, batch),
        "PyG, shared": Peer(network, Variant("shared"), batch).step,
    }
    work["revgnn"]()  # kernels are compiled for these widths
    peak = harness.memory(work)
    return {
        "channels": network.channels, "groups": network.groups, "depth": network.depth, "peak_bytes": peak,
        "times_less": peak["PyG, shared"] / peak["revgnn"],
    }  # fmt: skip


def measure_row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    row = get_table(TABLE).row(name)
    found = step_memory(row.run, generated_batch(args.nodes, args.edges)).as_dict()
    published = row.published.memory_gb
    return {
        "row": row.name, "preset": row.preset, **found, "published_bytes": None if published is None else round(published * 1e9),
        "times_less": None if published is None else published * 1e9 / found["peak_bytes"],
    }  # fmt: skip


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("memory", __doc__)
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument(
        "--shapes", nargs="*", metavar="CxGxL", default=["64x2x3", "64x2x7", "224x2x3", "224x4x3"], help="channels, groups, layers"
    )
    rows = [row.name for row in get_table(TABLE).rows]
    parser.add_argument("--rows", nargs="*", metavar="ROW", default=rows, help=f"rows of the paper's {TABLE}; none for none")
    args = harness.parse(parser, argv, QUICK)
    try:
        args.shapes = [shape(text) for text in args.shapes]
        args.rows = [get_table(TABLE).row(name).name for name in args.rows]
    except (argparse.ArgumentTypeError, ValueError) as error:
        parser.error(str(error))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    checks = [lambda n=network: (check_aggregate(n, graph), check_same_network(n)) for network in args.shapes]
    if not harness.all_right(*checks):
        return 1
    graph.by_source  # noqa: B018 # pyright: ignore[reportUnusedExpression] (both begin with the graph in the form they use)
    batch = Batch.on(graph)
    sizes = {"nodes": args.nodes, "edges": args.edges, "dtype": "float32"}
    with harness.result_line("memory", sizes, args) as result:
        result |= {"shapes": [], "rows": []}
        with harness.progress("memory", len(args.shapes) + len(args.rows), quiet=args.quick) as tick:
            for network in args.shapes:
                result["shapes"].append(measure_shape(network, batch))
                tick(f"{network.channels} channels, {network.groups} groups, {network.depth} layers")
            for name in args.rows:
                result["rows"].append(measure_row(name, args))
                tick(name)
        if not args.json:
            print(show(result))
    return 0


def show(result: dict[str, Any]) -> str:
    shapes = [
        [
            f"{s['channels']}, {s['groups']}, {s['depth']}",
            *(harness.megabytes(s["peak_bytes"][name]) for name in ("revgnn", "PyG, shared")),
            f"{s['times_less']:.1f}",
        ]
        for s in result["shapes"]
    ]
    rows = [
        [
            r["row"],
            "-" if r["published_bytes"] is None else f"{r['published_bytes'] / 1e9:.2f}",
            f"{r['peak_bytes'] / 1e9:.3f}",
            "-" if r["times_less"] is None else f"{r['times_less']:.1f}",
            "-" if r["stored_bytes"] is None else f"{r['stored_bytes'] / 1e9:.2f}",
            r["gradient"],
        ]
        for r in result["rows"]
    ]
    lines = [f"{result['nodes']:,} nodes, {result['edges']:,} edges, float32"]
    if shapes:
        lines.append("\n" + harness.table(["channels, groups, layers", "revgnn", "PyTorch Geometric", "times less"], shapes))
    if rows:
        header = ["row", "paper, GB", "ours, GB", "times less", "storing every layer, GB", "gradient"]
        lines.append("\n" + harness.table(header, rows))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
