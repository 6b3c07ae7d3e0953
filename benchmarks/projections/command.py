"""Plans of the largest public graphs on many GPUs, on paper: docs/projections.md.

    python -m benchmarks projections          # plan them again, some minutes; then
    python -m benchmarks projections --page > docs/projections.md

Memory is rehearsed, as `revgnn plan` does. Bytes that travel and what is computed are counted; seconds of a GPU are those of its
data sheet, times a factor that is measured. Nothing of this has run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness
from benchmarks.projections import count
from benchmarks.projections.page import page
from revgnn.data.tasks import TASKS
from revgnn.experiments.planner.plan import Planner
from revgnn.experiments.planner.size import DataSize
from revgnn.experiments.planner.spread.job import MODES, Job, Link
from revgnn.experiments.planner.spread.plan import SpreadPlanner
from revgnn.experiments.planner.spread.spread_plan import Refused
from revgnn.train.config import RunConfig

GRAPHS = {
    "ogbn-papers100M": DataSize(
        name="ogbn-papers100M",
        num_nodes=111_059_956,
        num_edges=1_615_685_872,
        num_loops=0,
        in_channels=128,
        num_edge_features=0,
        num_species=0,
        task=TASKS["multiclass"](172),
        num_train=1_207_179,
        num_rows=111_059_956,
    ),
    "MAG240M, papers": DataSize(
        name="MAG240M, papers",
        num_nodes=121_751_666,
        num_edges=1_297_748_926,
        num_loops=0,
        in_channels=768,
        num_edge_features=0,
        num_species=0,
        task=TASKS["multiclass"](153),
        num_train=1_112_392,
        num_rows=121_751_666,
    ),
}
"""Sizes as published (arXiv:2005.00687, arXiv:2103.09430)."""

NETWORKS = {"28 layers of 64": (28, 64), "112 layers of 64": (112, 64), "112 layers of 256": (112, 256)}
"""Layers and channels."""

LINKS = {"NVLink": Link(450e9, 5e-6), "400 Gbit/s": Link(50e9, 10e-6)}
"""What each GPU sends: half of what NVLink 4 moves in both directions, and one network card for each GPU."""

RANKS = (8, 64)


def run_of(depth: int, channels: int, parts: int) -> RunConfig:
    """Return a run of RevGNN in two groups, whose weights are cut, and whose gradients travel, in four segments."""
    model = {"depth": depth, "channels": channels, "groups": 2, "segments": 4, "dropout": 0.1}
    return RunConfig.parse({"model": model, "parts": parts, "evaluation": {"parts": parts}, "device": "cpu"})


def plan(name: str, network: str, ranks: int, factor: float) -> dict[str, Any]:
    """Return the plans of a network on a graph, for each way of spreading and each link."""
    data, run = GRAPHS[name], run_of(*NETWORKS[network], parts=ranks)
    spread = SpreadPlanner(Planner(data, torch.device("cpu"), count.cost_on(count.H200, run, data, factor)), library="nccl")
    modes: dict[str, Any] = {}
    for mode in MODES:
        try:
            of_links = {link: spread.plan(run, Job(ranks, LINKS[link]), mode) for link in LINKS}
        except Refused as refusal:
            modes[mode] = str(refusal)
            continue
        first = next(iter(of_links.values()))
        modes[mode] = {
            "memory_bytes": {name: round(value) for name, value in first.memory._asdict().items()},
            "evaluation_bytes": round(first.evaluation.total),
            "sent_bytes": round(first.sent_bytes),
            "seconds": {link: None if p.where is None else p.where._asdict() for link, p in of_links.items()},
        }
    return {"share": spread.shares(ranks)[0]._asdict(), "part_edges": data.part(ranks).num_edges, "modes": modes}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("projections", __doc__)
    parser.add_argument("--only", nargs="+", choices=list(GRAPHS), default=list(GRAPHS), help="graphs")
    parser.add_argument("--page", action="store_true", help="print the page of the last committed line, and plan nothing")
    return harness.parse(parser, argv, {"only": ["ogbn-papers100M"]})


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.page:
        print(page(last_record(args.results)), end="")
        return 0
    factors = count.measured_factors()
    factor = max(factors.values())
    names = [(name, network, ranks) for name in args.only for network in NETWORKS for ranks in RANKS]
    with harness.result_line("projections", {"factors": factors}, args) as result:
        result["device_planned"] = count.H200._asdict()
        result["links"] = {name: link._asdict() for name, link in LINKS.items()}
        result["graphs"] = {name: _sizes(GRAPHS[name]) for name in args.only}
        result["plans"] = []
        with harness.progress("projections", len(names), quiet=args.quick) as tick:
            for name, network, ranks in names:
                found = plan(name, network, ranks, factor)
                result["plans"].append({"data": name, "network": network, "ranks": ranks, **found})
                tick(f"{name}, {network}, {ranks}")
        if not args.json:
            print(page(result))
    return 0


def _sizes(data: DataSize) -> dict[str, int]:
    return {
        "nodes": data.num_nodes,
        "edges": data.num_edges,
        "features": data.in_channels,
        "classes": data.task.num_outputs,
        "bytes": data.nbytes,
    }


def last_record(folder: Path = harness.RESULTS) -> dict[str, Any]:
    """Return the last line of the results.

    Raises:
        FileNotFoundError: if there is none.
    """
    return json.loads((folder / "projections.jsonl").read_text(encoding="utf-8").splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
