"""Peak memory of a training step: ours beside PyTorch Geometric's, and of the rows of the paper's table.

    python -m benchmarks memory --rows RevGNN-64 RevGNN-224

For the shapes, peak is live tensor bytes above weights and inputs within a step, and both networks are the same function. For the
rows of the paper's table 2 it is everything alive at the peak: batch, weights, gradients, Adam's moments, what the step allocates.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks import harness
from benchmarks.checks import check_aggregate, check_same_network
from benchmarks.networks import Batch, Shape, add_size_options, index_by_source, revgnn_logits, revgnn_model, training_step
from benchmarks.peers.pyg import Variant
from benchmarks.peers.trials import Peer
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.experiments import get_table
from revgnn.experiments.measure.batch import generated_batch
from revgnn.experiments.measure.step import step_memory

TABLE = "table2"
QUICK = {"nodes": 200, "edges": 3000, "shapes": ["16x2x2"], "rows": ["RevGNN-64"]}


def parse_shape(text: str) -> Shape:
    """Return the shape that a text such as "64x2x7" means: 64 channels, 2 groups, 7 layers.

    Raises:
        argparse.ArgumentTypeError: if the text has another form.
    """
    numbers = text.split("x")
    if len(numbers) != 3 or not all(n.isdecimal() for n in numbers):
        raise argparse.ArgumentTypeError(f"a shape is CHANNELSxGROUPSxLAYERS, such as 64x2x7; got {text!r}")
    channels, groups, depth = map(int, numbers)
    return Shape(channels, groups, depth)


def measure_shape(shape: Shape, batch: Batch) -> dict[str, Any]:
    """Return the peak of a step of both networks."""
    gc.collect()
    work = {
        "revgnn": training_step(revgnn_model(shape, batch.graph).train(), revgnn_logits, batch),
        "PyG, shared": Peer(shape, Variant("shared"), batch).step,
    }
    work["revgnn"]()  # compiles the kernels for these widths
    peak = harness.peak_memory(work)
    return {
        "channels": shape.channels, "groups": shape.groups, "depth": shape.depth, "peak_bytes": peak,
        "times_less": peak["PyG, shared"] / peak["revgnn"],
    }  # fmt: skip


def measure_row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the peak of a step of the network in a row of the paper's table."""
    row = get_table(TABLE).row(name)
    found = step_memory(row.run, generated_batch(args.nodes, args.edges)).as_dict()
    published = row.published.memory_gb
    return {
        "row": row.name, "preset": row.preset.name, **found,
        "published_bytes": None if published is None else round(published * 1e9),
        "times_less": None if published is None else published * 1e9 / found["peak_bytes"],
    }  # fmt: skip


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("memory", __doc__)
    add_size_options(parser)
    parser.add_argument(
        "--shapes", nargs="*", metavar="CxGxL", default=["64x2x3", "64x2x7", "224x2x3", "224x4x3"], help="channels, groups, layers"
    )
    rows = [row.name for row in get_table(TABLE).rows]
    parser.add_argument(
        "--rows", nargs="*", metavar="ROW", default=rows, help=f"rows of the paper's {TABLE}; without a name, no rows"
    )
    args = harness.parse(parser, argv, QUICK)
    try:
        args.shapes = [parse_shape(text) for text in args.shapes]
        args.rows = [get_table(TABLE).row(name).name for name in args.rows]
    except (argparse.ArgumentTypeError, ValueError) as error:
        parser.error(str(error))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    checks = [lambda shape=shape: (check_aggregate(shape.width, graph), check_same_network(shape)) for shape in args.shapes]
    if not harness.checks_pass(*checks):
        return 1
    index_by_source(graph)
    batch = Batch.on(graph)
    sizes = {"nodes": args.nodes, "edges": args.edges, "dtype": "float32"}
    with harness.result_line("memory", sizes, args) as result:
        result |= {"shapes": [], "rows": []}
        with harness.progress("memory", len(args.shapes) + len(args.rows), quiet=args.quick) as tick:
            for shape in args.shapes:
                result["shapes"].append(measure_shape(shape, batch))
                tick(f"{shape.channels} channels, {shape.groups} groups, {shape.depth} layers")
            for name in args.rows:
                result["rows"].append(measure_row(name, args))
                tick(name)
        if not args.json:
            print(show(result))
    return 0


def show(result: dict[str, Any]) -> str:
    """Return the tables."""
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
