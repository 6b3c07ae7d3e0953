"""What `revgnn plan` says beside what is measured: peak memory over a grid of networks, and seconds of a step.

    python -m benchmarks plan
    python -m benchmarks plan --only "RevGNN, max" --no-time

Memory is everything alive at the peak of a training step, and of a forward pass in evaluation, as `PeakMemory` counts it. Seconds
are of a step at the full depth of a network; the plan's come from a probe of a few layers, in the same process just before.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from benchmarks import harness
from revgnn.data import proteins_shaped
from revgnn.data.catalogue import find_entry
from revgnn.experiments import get_preset
from revgnn.experiments.planner.plan import Planner
from revgnn.experiments.planner.probe import probe
from revgnn.experiments.planner.rehearse import batch_of, session_of
from revgnn.experiments.planner.size import DataSize
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.train.batches import Batch
from revgnn.train.config import RunConfig
from revgnn.train.inference.views import batch_logits
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.session import training_step

QUICK = {"nodes": 300, "edges": 3000, "only": ["RevGNN, max", "ResGNN, backprop"]}


class Entry(NamedTuple):
    """A network of the grid: a preset on ogbn-proteins, changed. `timed`: whether its step is timed too."""

    preset: str
    settings: tuple[str, ...] = ()
    timed: bool = False


def _reversible(*settings: str, timed: bool = False) -> Entry:
    return Entry("revgnn-64", ("model.depth=24", *settings), timed)


def _residual(*settings: str, timed: bool = False) -> Entry:
    return Entry("resgnn-64", ("model.depth=25", *settings), timed)


def _equilibrium(*settings: str) -> Entry:
    # a tolerance that no solve reaches: the plan is that of a solve with a full history
    return Entry("deq-gnn-64", ("model.solver.rtol=1e-12", *settings))


GRID = {
    "RevGNN, max": _reversible(timed=True),
    "RevGNN, max, 4 groups": _reversible("model.groups=4"),
    "RevGNN, max, 32 channels": _reversible("model.channels=32", timed=True),
    "RevGNN, max, 224 channels, 13 layers": _reversible("model.channels=224", "model.depth=13", timed=True),
    "RevGNN, max, 112 layers": _reversible("model.depth=112", timed=True),
    "RevGNN, max, bf16": _reversible("amp=bf16", timed=True),
    "RevGNN, max, batch norm": _reversible("model.norm=batch"),
    "RevGNN, max, no shared mask": _reversible("model.shared_dropout=false"),
    "RevGNN, max, state in float64": _reversible("model.state=float64"),
    "RevGNN, max, plain state": _reversible("model.state=plain"),
    "RevGNN, max, 3 segments": _reversible("model.segments=3"),
    "RevGNN, max, checkpoint": _reversible("model.gradient=checkpoint"),
    "RevGNN, max, backprop": _reversible("model.gradient=backprop", timed=True),
    "RevGNN, mean": _reversible("model.aggregation=mean", timed=True),
    "RevGNN, softmax, learned": _reversible("model.aggregation=softmax", "model.learn_aggregation=true", timed=True),
    "RevGNN, power, learned": _reversible("model.aggregation=power", "model.learn_aggregation=true"),
    "RevGNN, max, message norm": _reversible("model.message_norm=true"),
    "RevGNN, max, 3 linear maps": _reversible("model.mlp_layers=3"),
    "RevGNN, max, no edge features": _reversible("model.edge_features=false"),
    "RevGNN, GCN": _reversible("model.conv=gcn", timed=True),
    "RevGNN, SAGE": _reversible("model.conv=sage", "model.aggregation=mean"),
    "RevGNN, GAT, 2 heads": _reversible("model.conv=gat", "model.heads=2", timed=True),
    "ResGNN, checkpoint": _residual(timed=True),
    "ResGNN, checkpoint every 3": _residual("model.checkpoint_every=3"),
    "ResGNN, backprop": _residual("model.gradient=backprop", timed=True),
    "ResGNN, backprop, RMSprop": _residual("model.gradient=backprop", "optim.name=rmsprop"),
    "WT-ResGNN": Entry("wt-resgnn-64", ("model.depth=24",)),
    "WT-RevGNN": Entry("wt-revgnn-64", ("model.depth=24",), True),
    "WT-RevGNN, a single layer tied": Entry("wt-revgnn-64", ("model.depth=24", "model.unit=single")),
    "DEQ-GNN, Anderson": _equilibrium(),
    "DEQ-GNN, Broyden": _equilibrium("model.solver.method=broyden"),
    "DEQ-GNN, reversible": _equilibrium("model.solver.method=reversible"),
    "DEQ-GNN, phantom": _equilibrium("model.solver.gradient=phantom"),
    "DEQ-GNN, unrolled": _equilibrium("model.gradient=backprop", "model.depth=24"),
    "RevGAT, 12 layers": Entry("revgat", ("model.depth=12", "model.channels=60", "optim.name=adam")),
    "RevGAT, labels as inputs": Entry("revgat", ("model.depth=12", "model.channels=60", "label_inputs=0.5", "label_reuse=1")),
}
"""The networks by name."""


def run_of(entry: Entry, device: str = "cpu") -> RunConfig:
    """Return the run of an entry: the whole graph in one part."""
    run = get_preset(entry.preset).override(entry.settings)
    return run.replace({"parts": 1, "evaluation.parts": 1, "device": device})


def data_size(nodes: int, edges: int) -> DataSize:
    """Return a data set of this size with the inputs and labels of ogbn-proteins."""
    entry = find_entry("ogbn-proteins")
    assert entry is not None
    return replace(DataSize.of_entry(entry), num_nodes=nodes, num_edges=edges, num_rows=nodes, num_train=nodes * 65 // 100)


class Measured(NamedTuple):
    """Bytes at the peak of a training step, and of a forward pass in evaluation after one."""

    training: int
    evaluation: int


def measure(run: RunConfig, data: DataSize, graph: Graph) -> Measured:
    """Return what is alive at the peaks, weights, moments and batch included."""
    device = graph.device

    def new_batch() -> Batch:
        # what is computed of a graph when it is first used belongs to the step
        other = Graph(graph.indptr, graph.src, graph.edge_attr, validate=False)
        other._by_source = graph.by_source
        return batch_of(run, data, data.training_batch(1, 1), device, other)

    batch = new_batch()
    gc.collect()
    with own_random_numbers(device, 0), PeakMemory(device) as memory:
        session = session_of(run, data, device)
        training_step(session, batch)
    training = memory.peak_bytes
    del session
    batch = new_batch()
    gc.collect()
    with own_random_numbers(device, 0), PeakMemory(device) as memory:
        session = session_of(run, data, device)
        for parameter in session.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        session.model.eval()
        with torch.no_grad():
            batch_logits(session.model, batch, run.evaluation, data.task, run.label_reuse)
    held = bytes_of(batch)
    return Measured(training + held, memory.peak_bytes + held)


def bytes_of(batch: Batch) -> int:
    """Return the bytes of the tensors of a batch."""
    graph = batch.graph
    tensors = [graph.indptr, graph.src, *graph.by_source, graph.edge_attr, batch.x, batch.species, batch.y, batch.train]
    tensors += [batch.labels, batch.teacher, *batch.targets.values()]
    storages = [t.untyped_storage() for t in tensors if t is not None]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def step_seconds(run: RunConfig, data: DataSize, batch: Batch, repeats: int) -> list[float]:
    """Return the seconds of training steps at the full depth."""
    device = batch.graph.device
    with own_random_numbers(device, 0):
        session = session_of(run, data, device)
        seconds = []
        for _ in range(repeats + 1):
            harness.synchronize(device)
            start = time.perf_counter()
            training_step(session, batch)
            harness.synchronize(device)
            seconds.append(time.perf_counter() - start)
    return seconds[1:]


def compare(entry: Entry, data: DataSize, graph: Graph, *, timed: bool, repeats: int) -> dict[str, Any]:
    """Return the plan of a network beside its measurement."""
    device = graph.device
    run = run_of(entry, device.type)
    start = time.perf_counter()
    plan = Planner(data, device).plan(run)
    planning = time.perf_counter() - start
    found = measure(run, data, graph)
    result = {
        "planned_bytes": round(plan.memory.total),
        "measured_bytes": found.training,
        "planned_evaluation_bytes": round(plan.evaluation.total),
        "measured_evaluation_bytes": found.evaluation,
        "parts": {name: round(value) for name, value in plan.memory._asdict().items()},
        "planning_seconds": planning,
    }
    if timed and entry.timed:
        cost = probe(run, data, device)
        batch = batch_of(run, data, data.training_batch(1, 1), device, graph)
        seconds = step_seconds(run, data, batch, repeats)
        result |= {
            "planned_seconds": cost.of(run, data).step,
            "measured_seconds": harness.Spread.of(seconds)._asdict(),
            "probe_spread": cost.spread,
        }
    return result


def check_exact() -> None:
    """On the CPU a network that is not deep is rehearsed as it is: its plan is the measurement to the byte."""
    data = data_size(200, 2000)
    run = run_of(_reversible("model.depth=3"))
    plan, found = Planner(data, torch.device("cpu")).plan(run), measure(run, data, _graph(data, "cpu"))
    assert plan.memory.total == found.training, f"planned {plan.memory.total:.0f} bytes, measured {found.training}"


def _graph(data: DataSize, device: str) -> Graph:
    graph = proteins_shaped(data.num_nodes, data.num_edges, data.num_edge_features).to(device)
    _ = graph.by_source
    return graph


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("plan", __doc__)
    parser.add_argument("--nodes", type=int, default=3000, help="N")
    parser.add_argument("--edges", type=int, default=60_000, help="E")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(GRID), help="networks of the grid")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each network")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure")
    parser.add_argument("--no-time", action="store_true", help="memory alone")
    args = harness.parse(parser, argv, QUICK)
    if unknown := [name for name in args.only if name not in GRID]:
        parser.error(f"the grid has no {unknown[0]!r}; there are {'; '.join(GRID)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    checks: list[Callable[[], object]] = [check_exact]
    if not harness.checks_pass(*checks):
        return 1
    data = data_size(args.nodes, args.edges)
    graph = _graph(data, args.device)
    with harness.result_line("plan", {"nodes": args.nodes, "edges": args.edges}, args, args.device) as result:
        result["networks"] = {}
        with harness.progress("plan", len(args.only), quiet=args.quick) as tick:
            for name in args.only:
                timed = not args.no_time
                result["networks"][name] = compare(GRID[name], data, graph, timed=timed, repeats=args.repeats)
                tick(name)
        result |= summary(result["networks"])
        if not args.json:
            print(show(result))
    return 0


def summary(networks: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the largest relative errors, and the median one of seconds."""
    memory = [_error(n["planned_bytes"], n["measured_bytes"]) for n in networks.values()]
    memory += [_error(n["planned_evaluation_bytes"], n["measured_evaluation_bytes"]) for n in networks.values()]
    seconds = [_error(n["planned_seconds"], n["measured_seconds"]["median"]) for n in networks.values() if "planned_seconds" in n]
    found = {"worst_memory_error": max(map(abs, memory))}
    if seconds:
        found |= {"worst_seconds_error": max(map(abs, seconds)), "median_seconds_error": statistics.median(map(abs, seconds))}
    return found


def _error(planned: float, measured: float) -> float:
    return planned / measured - 1.0


def show(result: dict[str, Any]) -> str:
    """Return the tables."""
    rows, times = [], []
    for name, n in result["networks"].items():
        rows.append(
            [
                name,
                harness.megabytes(n["planned_bytes"]),
                harness.megabytes(n["measured_bytes"]),
                f"{100 * _error(n['planned_bytes'], n['measured_bytes']):+.1f} %",
                f"{100 * _error(n['planned_evaluation_bytes'], n['measured_evaluation_bytes']):+.1f} %",
            ]
        )
        if "planned_seconds" in n:
            measured = harness.Spread(**n["measured_seconds"])
            error = 100 * _error(n["planned_seconds"], measured.median)
            times.append([name, f"{n['planned_seconds']:.3g}", measured.text(), f"{error:+.0f} %"])
    text = harness.table(["network", "planned", "measured", "error", "error in evaluation"], rows)
    if times:
        text += "\n\n" + harness.table(["network", "planned, s a step", "measured", "error"], times)
    return f"{result['nodes']:,} nodes, {result['edges']:,} edges\n\n{text}\n\nworst: {100 * result['worst_memory_error']:.2f} %"


if __name__ == "__main__":
    sys.exit(main())
