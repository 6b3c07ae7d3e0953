"""What `revgnn plan --ranks` says beside processes that run: memory of a process, and bytes sent, for each way of spreading.

    python -m benchmarks spread
    python -m benchmarks spread --mode graph --how random

Memory is everything alive at the peak of a step, as `PeakMemory` counts it. Bytes are those that the kernel of the operating system
counts on the connections of a process, with all that the protocol adds. Seconds are planned from a probe in the same run; those of
exchanges are how long a process is blocked in them, waiting for the others included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from benchmarks import harness
from benchmarks.plan import data_size
from benchmarks.ranks.command import launch
from revgnn.data import proteins_shaped
from revgnn.experiments.planner.for_run import planner_for
from revgnn.experiments.planner.plan import Planner
from revgnn.experiments.planner.probe import probe
from revgnn.experiments.planner.spread.job import MODES, Job, Link, parse_link
from revgnn.experiments.planner.spread.plan import SpreadPlanner
from revgnn.experiments.planner.spread.spread_plan import SpreadPlan
from revgnn.train import RunConfig

QUICK = {"nodes": 300, "edges": 2000, "degree": 6, "depth": 3, "channels": 16, "steps": 1, "no_time": True}
RANKS = (1, 2, 3, 4)
"""Processes of one thread of each job."""

PARTS = 4
"""Parts of a step that pass through layers or weights that are cut."""


def runs(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the configurations of the runs, as JSON values: of the graph that is cut over processes, and of all others."""
    model = {"depth": args.depth, "channels": args.channels, "dropout": 0.1}
    whole = {"model": model, "parts": 1, "evaluation": {"parts": 1}, "device": "cpu"}
    segments = {**model, "segments": min(4, args.depth)}
    name = f"synthetic:nodes={2 * args.nodes},degree={args.degree},tasks=3"
    return {"graph": whole, "others": {"data": {"name": name}, "model": segments, "device": "cpu"}}


def of_step(run: dict[str, Any], mode: str, ranks: int) -> dict[str, Any]:
    """Return the run whose epochs are one step: of one part for each process, or of `PARTS`."""
    count = max(2, ranks) if mode == "parts" else PARTS
    return {**run, "parts": count, "parts_per_step": count}


def compare_run(mode: Literal["parts", "layers", "weights"], args: argparse.Namespace, link: Link) -> dict[str, Any]:
    """Return plan and measurement of a run that is spread in this way."""
    found = {}
    for ranks in RANKS:
        record = of_step(runs(args)["others"], mode, ranks)
        run = RunConfig.parse(record)
        measured = _measured(mode, ranks, {"run": record, "steps": args.steps})
        plan = SpreadPlanner(planner_for(run, timed=not args.no_time)).plan(run, Job(ranks, link), mode)
        found[str(ranks)] = beside(plan, measured)
    return found


def compare_graph(args: argparse.Namespace, link: Link) -> dict[str, Any]:
    """Return plan and measurement of a graph that is cut over processes."""
    record, data = runs(args)["graph"], data_size(args.nodes, args.edges)
    run, device = RunConfig.parse(record), torch.device("cpu")
    cost = None if args.no_time else probe(run, data, device)
    whole = proteins_shaped(args.nodes, args.edges, data.num_edge_features)
    planner = SpreadPlanner(Planner(data, device, cost, whole), args.how)
    shape = {"run": record, "nodes": args.nodes, "edges": args.edges, "how": args.how, "steps": args.steps}
    return {str(ranks): beside(planner.plan(run, Job(ranks, link), "graph"), _measured("graph", ranks, shape)) for ranks in RANKS}


def _measured(mode: str, ranks: int, shape: Mapping[str, Any]) -> list[dict[str, Any]]:
    return json.loads(launch("benchmarks.spread.worker", ranks, 1, [mode, json.dumps(shape)]))


def beside(plan: SpreadPlan, measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is planned and what is measured of the process that needs, or sends, most."""
    record = {
        "planned_bytes": round(plan.memory.total),
        "measured_bytes": max(each["peak_bytes"] for each in measured),
        "planned_sent_bytes": round(plan.sent_bytes),
        "measured_sent_bytes": max(each["sent_bytes"] for each in measured),
        "seconds": _largest(measured, "seconds"),
        "exchange_seconds": _largest(measured, "exchange_seconds"),
        "planned_seconds": None if plan.where is None else {"step": plan.where.step, **plan.where._asdict()},
    }
    if plan.shares:
        record["shares"] = [share._asdict() for share in plan.shares]
        record["measured_shares"] = [{name: each[name] for name in ("own", "edges", "fetched")} for each in measured]
    return record


def _largest(measured: list[dict[str, Any]], name: str) -> list[float]:
    """Return the largest value of a process in each step."""
    return [max(each) for each in zip(*(each[name] for each in measured), strict=True)]


def check_shares(result: Mapping[str, Any]) -> None:
    """Check that shares are planned as they are cut, to the row.

    Raises:
        AssertionError: if one is not.
    """
    for found in result.get("graph", {}).values():
        for planned, measured in zip(found["shares"], found["measured_shares"], strict=True):
            assert {name: planned[name] for name in measured} == measured, f"planned {planned}, cut {measured}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("spread", __doc__)
    parser.add_argument("--mode", choices=["all", *MODES], default="all")
    parser.add_argument("--nodes", type=int, default=3000, help="of the graph cut over processes; half of those cut into parts")
    parser.add_argument("--edges", type=int, default=60_000, help="of the graph that is cut over processes")
    parser.add_argument("--degree", type=int, default=40, help="of the graph that is cut into parts")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each job")
    parser.add_argument("--how", choices=["contiguous", "random", "metis"], default="contiguous")
    parser.add_argument("--link", default="1GB/s", help="speed that is planned for this machine's loopback")
    parser.add_argument("--no-time", action="store_true", help="memory and bytes alone")
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    link = Link(parse_link(args.link))
    with harness.result_line("spread", {"mode": args.mode}, args) as result:
        for mode in MODES:
            if args.mode in ("all", mode):
                result[mode] = compare_graph(args, link) if mode == "graph" else compare_run(mode, args, link)
        check_shares(result)
        if not args.json:
            print(show(result))
    return 0


def show(result: Mapping[str, Any]) -> str:
    """Return the table."""
    rows = []
    for mode in MODES:
        for ranks, found in result.get(mode, {}).items():
            planned = found["planned_seconds"]
            rows.append(
                [
                    mode,
                    ranks,
                    harness.megabytes(found["planned_bytes"]),
                    harness.megabytes(found["measured_bytes"]),
                    _ratio(found["planned_bytes"], found["measured_bytes"]),
                    harness.megabytes(found["planned_sent_bytes"]),
                    harness.megabytes(found["measured_sent_bytes"]),
                    _ratio(found["planned_sent_bytes"], found["measured_sent_bytes"]),
                    "-" if planned is None else f"{planned['step']:.3g}",
                    f"{statistics.median(found['seconds']):.3g}",
                    f"{statistics.median(found['exchange_seconds']):.3g}",
                ]
            )
    head = ["spread", "processes", "memory planned", "measured", "ratio", "sent a step planned", "measured", "ratio"]
    return harness.table([*head, "s planned", "measured", "of these in exchanges"], rows)


def _ratio(planned: float, measured: float) -> str:
    return f"{planned / measured:.3f}" if measured else "-"


if __name__ == "__main__":
    sys.exit(main())
