"""Several processes beside one: parts of a step shared out; one graph, layers or weights cut over them. Seconds and memory.

    python -m benchmarks ranks
    python -m benchmarks ranks --mode graph --edges 79122504 --nodes 132534

A job of each kind runs in turn, in processes of its own. First a small run in two processes is compared with one process, bit for
bit; otherwise nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import harness
from benchmarks.ranks import weights
from benchmarks.ranks.exchanges import IN_EXCHANGES, waiting
from benchmarks.ranks.layers import add_arguments, measure_layers, show_layers
from revgnn.data.generated.full_size import full_size
from revgnn.train import RunConfig, train
from revgnn.train.run.tensor_file import read_tensors

ROOT = Path(__file__).resolve().parents[2]
QUICK = {
    "nodes": 400,
    "edges": 8000,
    "depth": 3,
    "channels": 16,
    "rounds": 1,
    "steps": 1,
    "part_nodes": 300,
    "degree": 6,
    "part_depth": 3,
    "epochs": 1,
    "layers_nodes": 300,
    "layers_depth": 4,
    "layers_channels": 16,
    "wide_depth": 4,
    "wide_channels": 16,
    "wide_segments": 2,
    "wide_nodes": 100,
    "wide_edges": 600,
}
JOBS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes": (2, 1), "3 processes": (3, 1)}
"""Processes and threads of each job."""


def launch(module: str, size: int, threads: int, words: Sequence[str]) -> str:
    """Run the processes of a job, and return what process 0 prints."""
    places = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": places, "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", *_placed(module, words, f"{folder}/store", rank, size, threads)],
                env=environment,
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                text=True,
            )
            for rank in range(size)
        ]
        try:
            printed = [process.communicate()[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
    if any(process.returncode for process in processes):
        raise AssertionError(f"a process of {module} failed")
    return printed[0]


def _placed(module: str, words: Sequence[str], store: str, rank: int, size: int, threads: int) -> list[str]:
    return [module, words[0], store, str(rank), str(size), str(threads), *words[1:]]


def measure(mode: str, job: str, shape: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what each process of a job measures."""
    return _measure(mode, *JOBS[job], shape)


def _measure(mode: str, size: int, threads: int, shape: Mapping[str, Any]) -> list[dict[str, Any]]:
    return json.loads(launch("benchmarks.ranks.worker", size, threads, [mode, json.dumps(shape)]))


def check_equal(parallel: str = "parts") -> None:
    """Check that two processes train the run of one.

    Args:
        parallel: what they share.

    Raises:
        AssertionError: if a weight differs.
    """
    config = RunConfig.parse(
        {
            "data": {"name": "synthetic:nodes=200,degree=6,tasks=2"},
            "model": {"depth": 3, "channels": 8, "dropout": 0.2, "segments": 2},
            "optim": {"clip_norm": None},
            "parts": 4,
            "parts_per_step": 2,
            "epochs": 1,
            "device": "cpu",
        }
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "one")
        (Path(folder) / "run.yaml").write_text(config.to_yaml())
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "revgnn", "train"]
        command = [*words, f"--config={folder}/run.yaml", f"--out={folder}/two", f"--parallel={parallel}", "-q"]
        places = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places}, capture_output=True)
        if done.returncode:
            raise AssertionError(done.stderr.decode()[-500:])
        one, two = (read_tensors(Path(folder) / name / "last.safetensors")[0] for name in ("one", "two"))
    torch.set_num_threads(threads)
    for name, tensor in one.items():
        if not torch.equal(tensor, two[name]):
            raise AssertionError(f"{name} differs between one process and two")


def measure_parts(args: argparse.Namespace, result: harness.Result) -> None:
    """Measure parts a second of each job, in turns."""
    shape = {
        "nodes": args.part_nodes,
        "degree": args.degree,
        "depth": args.part_depth,
        "channels": 64,
        "segments": min(4, args.part_depth),
    }
    shape |= {"parts": 6, "epochs": args.epochs}
    names = ("parts_a_second", "processes", "peak_bytes", "resident")
    found: dict[str, dict[str, Any]] = {job: {name: [] for name in names} for job in JOBS}
    for number in range(args.rounds):
        jobs = list(JOBS)
        for job in jobs[number % len(jobs) :] + jobs[: number % len(jobs)]:
            everywhere = measure("parts", job, {**shape, "parts_per_step": 3 if JOBS[job][0] == 3 else 2})
            found[job]["parts_a_second"] += [shape["parts"] / s for s in everywhere[0]["seconds"]]
            found[job]["processes"] += [{n: process[n] for n in ("seconds", "exchange_seconds")} for process in everywhere]
            found[job]["peak_bytes"] = [process["peak_bytes"] for process in everywhere]
            found[job]["resident"] = [process["resident_peak_bytes"] for process in everywhere]
    result["parts"] = {**shape, "jobs": found}


def measure_graph(args: argparse.Namespace, result: harness.Result) -> None:
    """Measure a step on the whole of a graph, cut over 1, 2 and 3 processes."""
    with tempfile.TemporaryDirectory() as folder:
        whole = full_size(args.nodes, args.edges, 8, edge_storage="int16")
        assert whole.edge_attr is not None
        for name, tensor in (("indptr", whole.indptr), ("src", whole.src), ("edge_attr", whole.edge_attr)):
            np.save(f"{folder}/{name}.npy", tensor.numpy())
        shape = {"depth": args.depth, "channels": args.channels, "steps": args.steps, "how": args.how}
        shape |= {"folder": folder, "edge_scale": whole.edge_scale}
        del whole, tensor
        jobs = {job: measure("graph", job, shape) for job in JOBS if JOBS[job][1] == 1}
    del shape["folder"]
    result["graph"] = {**shape, "nodes": args.nodes, "edges": args.edges, "jobs": jobs}


def measure_weights(args: argparse.Namespace, result: harness.Result) -> None:
    """Measure a step of a network whose weights are cut over 2 and 3 processes, beside one that holds them all."""
    shape = {name: getattr(args, f"wide_{name}") for name in ("depth", "channels", "segments", "nodes", "edges")}
    shape["steps"] = args.steps
    jobs = {job: measure("weights", job, shape) for job in JOBS if JOBS[job][1] == 1}
    result["weights"] = {**shape, "jobs": jobs}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("ranks", __doc__)
    parser.add_argument("--mode", choices=["all", "parts", "graph", "layers", "weights"], default="all")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the jobs that share parts")
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs of a job")
    parser.add_argument("--part-nodes", type=int, default=12_000, help="nodes of the graph that is cut into 6 parts")
    parser.add_argument("--degree", type=int, default=60)
    parser.add_argument("--part-depth", type=int, default=14)
    parser.add_argument("--nodes", type=int, default=13_253, help="nodes of the graph that is cut over processes")
    parser.add_argument("--edges", type=int, default=7_912_250)
    parser.add_argument("--depth", type=int, default=112)
    parser.add_argument("--channels", type=int, default=80)
    parser.add_argument(
        "--steps", type=int, default=1, help="timed steps on that graph, after one that is not timed; 0 times that one"
    )
    parser.add_argument("--how", choices=["contiguous", "random", "metis"], default="contiguous")
    add_arguments(parser)
    parser.add_argument("--wide-depth", type=int, default=448, help="layers of the network whose weights are cut")
    parser.add_argument("--wide-channels", type=int, default=224)
    parser.add_argument("--wide-segments", type=int, default=28)
    parser.add_argument("--wide-nodes", type=int, default=500, help="nodes of the graph of each process")
    parser.add_argument("--wide-edges", type=int, default=5_000)
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if not harness.checks_pass(check_equal):
        return 1
    if args.mode in ("all", "weights") and not harness.checks_pass(partial(check_equal, "weights")):
        return 1
    with harness.result_line("ranks", {"mode": args.mode}, args) as result:
        if args.mode in ("all", "parts"):
            measure_parts(args, result)
        if args.mode in ("all", "graph"):
            measure_graph(args, result)
        if args.mode in ("all", "layers"):
            measure_layers(args, result, lambda size, shape: _measure("layers", size, 1, shape))
        if args.mode in ("all", "weights"):
            measure_weights(args, result)
        if not args.json:
            print(show(result))
    return 0


def show(result: Mapping[str, Any]) -> str:
    """Return the tables."""
    lines = [f"{result['cpu']}, torch {torch.__version__}, commit {result['commit']}"]
    if "parts" in result:
        rows = [
            [
                job,
                harness.Spread.of(found["parts_a_second"]).text(),
                waiting(found["processes"]),
                harness.megabytes(max(found["peak_bytes"])),
                harness.megabytes(max(found["resident"])),
            ]
            for job, found in result["parts"]["jobs"].items()
        ]
        head = ["", "parts a second, median (range)", "time in exchanges", "peak of tensors a process", "resident"]
        lines += ["\nParts of a step, shared:", harness.table(head, rows)]
    if "graph" in result:
        rows = [
            [
                job,
                f"{max(min(p['seconds']) for p in found):.3g}",
                waiting(found),
                harness.megabytes(max(p["peak_bytes"] for p in found)),
                harness.megabytes(max(p["held_bytes"] for p in found)),
                harness.megabytes(max(p["resident_peak_bytes"] for p in found)),
                harness.megabytes(max(p["sent_bytes"] for p in found)),
                f"{max(p['own'] for p in found):,} + {max(p['fetched'] for p in found):,}",
            ]
            for job, found in result["graph"]["jobs"].items()
        ]
        head = [
            "",
            "s a step",
            IN_EXCHANGES,
            "peak of tensors in a step",
            "resident before",
            "resident, most",
            "sent a step",
            "nodes",
        ]
        sizes = "{nodes:,} nodes, {edges:,} edges, {depth} layers of {channels} channels, {how}".format(**result["graph"])
        lines += [f"\nOne graph cut over processes, {sizes}; largest of a process:", harness.table(head, rows)]
    if "layers" in result:
        lines += show_layers(result["layers"])
    if "weights" in result:
        lines.append(weights.show(result["weights"]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
