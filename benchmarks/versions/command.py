"""The sources of another checkout beside these, in turns: speed and memory of steps and operators, with equal bits.

    python -m benchmarks versions --old PATH/TO/OLD/CHECKOUT

One process for each version runs the same calls on the same inputs, in rounds: old, new, new, old, old, and so on. On the shape of
one training batch of ogbn-proteins, and on a graph of Cora's size, where the launching of kernels takes longer than the kernels:
training steps, and each operator forward and backward. All outputs and gradients must be the same bits in both versions; if one
differs, nothing is timed. The ratio is that of the seconds within a round, new over old: below 1 the new version is faster.

Two processes of the same sources differ in speed, by a tenth and more for some kernels. So the rounds are divided among several
processes of each version. Give the same checkout as --old and --new to see how far from 1 the ratios are without any change.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness
from benchmarks.networks import add_size_options
from benchmarks.versions.process import ROOT, Worker
from revgnn.data.generated.synthetic import proteins_shaped

SMALL_NODES, SMALL_EDGES = 2_708, 10_556
"""Size of Cora."""
QUICK = {
    "nodes": 200, "edges": 3000, "processes": 2, "rounds": 1, "turn": 0.001, "only": ["2 groups, 7 layers", "small: norm_relu"],
}  # fmt: skip

Workers = Mapping[str, Worker]
"""The processes of the versions "old" and "new"."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("versions", __doc__)
    parser.add_argument("--old", type=Path, required=True, metavar="PATH", help="root of the checkout to compare with")
    parser.add_argument("--new", type=Path, default=ROOT, metavar="PATH", help="root of the checkout to judge")
    parser.add_argument("--processes", type=int, default=4, help="processes of each version that measure, one after the other")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each process; in one, both take a turn at every case")
    parser.add_argument("--turn", type=float, default=0.1, help="least seconds of a turn: short calls are repeated")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only the cases whose names contain one of these texts")
    add_size_options(parser)
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    checkouts = {"old": args.old, "new": args.new}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.pt"
        torch.save(make_inputs(args.nodes, args.edges), inputs)
        described: dict[str, dict[str, Any]] = {}
        with started(checkouts, inputs) as workers:
            cases = choose(workers, args.only)
            if not harness.checks_pass(lambda: described.update(describe_all(workers, cases, quiet=args.quick))):
                return 1
        sizes = {key: getattr(args, key) for key in ("nodes", "edges", "processes", "rounds")}
        commits = {f"{name}_commit": commit_of(path) for name, path in checkouts.items()}
        with harness.result_line("versions", {**sizes, **commits, "dtype": "float32"}, args) as result:
            result["peak_bytes"] = {case: found["peak_bytes"] for case, found in described.items() if "peak_bytes" in found}
            result["seconds"] = {case: {name: [] for name in checkouts} for case in cases}
            calls = {case: max(1, math.ceil(args.turn / found["seconds"])) for case, found in described.items()}
            with harness.progress("in turns", args.processes * args.rounds * len(cases), quiet=args.quick) as tick:
                for process in range(args.processes):
                    with started(checkouts, inputs) as workers:
                        rounds = range(process * args.rounds, (process + 1) * args.rounds)
                        measure(workers, calls, rounds, result["seconds"], tick)
            result["new_over_old"] = {case: compare(seconds) for case, seconds in result["seconds"].items()}
            if not args.json:
                print(show(result))
    return 0


@contextmanager
def started(checkouts: Mapping[str, Path], inputs: Path) -> Iterator[Workers]:
    """Start a process for each version, and end them afterwards."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Worker(name, path, inputs)) for name, path in checkouts.items()}


def make_inputs(nodes: int, edges: int) -> dict[str, dict[str, Any]]:
    """Return the tensors of both graphs: a training batch of ogbn-proteins with edge features, and one of Cora's size without."""
    batch = proteins_shaped(nodes, edges)
    ends = torch.randint(0, SMALL_NODES, (2, SMALL_EDGES), generator=torch.Generator().manual_seed(0))
    return {
        "batch": {"edge_index": batch.edge_index, "num_nodes": batch.num_nodes, "edge_attr": batch.edge_attr},
        "small": {"edge_index": ends, "num_nodes": SMALL_NODES, "edge_attr": None},
    }


def choose(workers: Workers, only: Sequence[str] | None) -> list[str]:
    """Return the names of the cases to measure, in the order in which the workers name them.

    Raises:
        ValueError: if `only` leaves none.
    """
    cases = [case for case in workers["new"].cases if only is None or any(text in case for text in only)]
    if not cases:
        raise ValueError(
            f"no case contains {' or '.join(map(repr, only or ()))}; the cases are: {'; '.join(workers['new'].cases)}."
        )
    return cases


def describe_all(workers: Workers, cases: Sequence[str], *, quiet: bool) -> dict[str, dict[str, Any]]:
    """Return the seconds of a call of each case, and the peak memory of steps in each version.

    Raises:
        AssertionError: if a result differs between the versions.
    """
    described = {}
    with harness.progress("checking", len(cases), quiet=quiet) as tick:
        for case in cases:
            found = {name: worker.describe(case) for name, worker in workers.items()}
            check_equal(case, found["old"]["digests"], found["new"]["digests"])
            described[case] = {"seconds": max(each["seconds"] for each in found.values())}
            if found["new"]["peak_bytes"] is not None:
                described[case]["peak_bytes"] = {name: each["peak_bytes"] for name, each in found.items()}
            tick(case)
    return described


def check_equal(case: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Check that two versions gave the same digests under the same names.

    Raises:
        AssertionError: naming what differs.
    """
    if old.keys() != new.keys():
        raise AssertionError(f"{case}: only one version has {', '.join(sorted(old.keys() ^ new.keys()))}")
    differing = [name for name in old if old[name] != new[name]]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise AssertionError(f"{case}: the versions differ in {', '.join(differing[:3])}{more}")


def measure(
    workers: Workers,
    calls: Mapping[str, int],
    rounds: Iterable[int],
    seconds: Mapping[str, Mapping[str, list[float]]],
    tick: harness.Tick,
) -> None:
    """Time all cases in rounds and add to `seconds`. The version that goes first changes from round to round.

    Args:
        workers: the processes.
        calls: how many calls a turn has, by case.
        rounds: numbers of the rounds.
        seconds: lists by case and version, which the seconds of a call are added to.
        tick: advances by 1 after both turns.
    """
    for n in rounds:
        for case, count in calls.items():
            for name in ("old", "new") if n % 2 == 0 else ("new", "old"):
                seconds[case][name].append(workers[name].time(case, count))
            tick(f"round {n + 1}: {case}")


def compare(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the ratio new over old within the rounds, as median and range, and that of the fastest turns, `fastest`."""
    spread = harness.ratios(seconds["new"], seconds["old"])
    return {**spread._asdict(), "fastest": min(seconds["new"]) / min(seconds["old"])}


def commit_of(checkout: Path) -> str | None:
    """Return the commit of a checkout, with "-dirty" if files differ; None if git does not know it."""
    command = ["git", "--no-optional-locks", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def show(result: Mapping[str, Any]) -> str:
    """Return the tables and what surrounds them."""
    rows = []
    for case, seconds in result["seconds"].items():
        ratio = dict(result["new_over_old"][case])
        fastest = f"{ratio.pop('fastest'):.3f}"
        times = [harness.Spread.of([1e3 * s for s in seconds[name]]).text() for name in ("old", "new")]
        rows.append([case, *times, harness.Spread(**ratio).text(), fastest])
    peaks = [
        [case, *(harness.megabytes(peak[name]) for name in ("old", "new")), f"{peak['new'] / peak['old']:.3f}"]
        for case, peak in result["peak_bytes"].items()
    ]
    sizes = "batch: {nodes:,} nodes, {edges:,} edges; small: {small_nodes:,} nodes, {small_edges:,} edges"
    medians = {case: ratio["median"] for case, ratio in result["new_over_old"].items()}
    largest = max(medians, key=lambda case: medians[case])
    rounds = f"{result['rounds']} rounds in turns in each of {result['processes']} processes"
    lines = [
        f"{sizes.format(**result, small_nodes=SMALL_NODES, small_edges=SMALL_EDGES)}; float32; {rounds}.",
        f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}",
        f"old {result['old_commit']}, new {result['new_commit']}; every output and gradient has the same bits\n",
        harness.table(["", "old, ms", "new, ms", "new / old, median (range)", "of the fastest turns"], rows),
        f"\nthe geometric mean of the ratios is {statistics.geometric_mean(medians.values()):.3f}, "
        f"the largest {medians[largest]:.3f} ({largest})",
    ]
    if peaks:
        lines.append("\n" + harness.table(["peak memory", "old", "new", "new / old"], peaks))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
