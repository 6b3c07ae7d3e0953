"""Everything there is to learn from a few minutes on a GPU: are the kernels right, and how fast is a step.

    python benchmarks/gpu.py            # on the machine with the GPU, from the root of a checkout; installed or not
    python benchmarks/gpu.py --dry-run  # the checks alone, in Triton's interpreter, without a GPU

First every kernel is compared with its definition, on the awkward graphs and a hub, in float32 and bfloat16, the perceptron at its
usual widths, and the tests marked `gpu` are run. If anything is wrong nothing is timed and no ratio is printed. Then a training
step is measured beside PyTorch Geometric's, in turns, a few steps of RevGNN-Deep and -Wide, and steps replayed as a CUDA graph
beside the same ones launched kernel by kernel; these are left out once 7 minutes have gone by. A part that fails is reported,
and the others are measured all the same. Appends one JSON line to `benchmarks/results/gpu.jsonl`.

Needs torch, triton, torch-geometric and numpy, and what `revgnn` imports whatever the device: numba (graphs are sorted and kernels
of the CPU are loaded with it), scipy, scikit-learn, pydantic, pyyaml and safetensors; pytest for the tests.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
NEEDED = ("torch", "triton", "torch_geometric", "numpy", "numba", "scipy", "sklearn", "pydantic", "yaml", "safetensors")
SHAPES = ({"channels": 64, "groups": 2, "depth": 7}, {"channels": 224, "groups": 4, "depth": 3})
NAMED = {
    "RevGNN-Deep": {"channels": 80, "groups": 2, "depth": 1001, "dropout": 0.1},
    "RevGNN-Wide": {"channels": 224, "groups": 2, "depth": 448, "dropout": 0.2},
}
CAPTURED = {
    "RevGNN-64, 112 layers": {"channels": 64, "groups": 2, "depth": 112, "dropout": 0.1},
    "RevGNN-Deep": NAMED["RevGNN-Deep"],
}
CAPTURE_TESTS = ("tests/models/test_captured_step.py", "tests/train/test_capture.py")
"""Those that decide over the figures of replayed steps, and over no others."""
PARTS = 10
MINUTES = 8


def check_kernels(device: Any, quick: bool) -> list[str]:
    """What is wrong, a line each; every reducer on every graph, value and all gradients."""
    import torch

    from revgnn.graph import Graph
    from revgnn.ops import aggregate, edge_softmax, propagate
    from revgnn.testing import awkward_graphs
    from tests.ops.compare import assert_matches_reference
    from tests.ops.test_aggregate import REDUCERS, draws, learns, op_on
    from tests.ops.test_perceptron import leaves_of
    from tests.ops.test_perceptron import op as perceptron_on

    graphs = [(n, g) for n, g in awkward_graphs(3) if not quick or n in ("no edges", "single node, self-loop", "doubled edges")]
    if not quick:
        ends = (700 * torch.rand(2, 90_000, generator=torch.Generator().manual_seed(0)) ** 2).long()
        ends[1, :40_000], ends[0, 40_000:60_000] = 3, 5
        graphs.append(("two hubs of 40,000 and 20,000", Graph.from_edge_index(ends, 700)))
    wrong: list[str] = []

    def check(what: str, op: Any, *leaves: dict[str, Any]) -> None:
        on_device = [{name: t.to(device) for name, t in each.items()} for each in leaves]
        try:
            assert_matches_reference(op, *on_device, dtype=torch.float32, backend="gpu")
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {error}")

    for name, graph in graphs:
        graph = graph.to(device)
        for reducer in REDUCERS:
            check(f"aggregate, {reducer}, {name}", op_on(graph, reducer), *draws(graph, 40, edges=True, param=learns(reducer)))
        x, weight = torch.randn(graph.num_nodes, 3, 40).double(), torch.randn(graph.num_edges, 3).double()
        weighted = lambda t, backend, graph=graph: propagate(t["x"], graph, t["weight"], backend=backend)  # noqa: E731
        check(f"propagate, {name}", weighted, {"x": x, "weight": weight})
        if graph.num_edges:
            normalised = lambda t, backend, graph=graph: edge_softmax(t["scores"], graph, backend=backend)  # noqa: E731
            check(f"edge_softmax, {name}", normalised, {"scores": weight})
        for reducer in () if quick else REDUCERS:  # computed in float32, rounded once
            try:
                half = {n: t.to(device, torch.bfloat16) for n, t in draws(graph, 40, edges=True, param=learns(reducer))[0].items()}
                how = REDUCERS[reducer](half.pop("param", None))
                out = aggregate(**half, graph=graph, how=how, backend="gpu")
                wide = aggregate(**{n: t.float() for n, t in half.items()}, graph=graph, how=how, backend="gpu")
                if not torch.equal(out, wide.bfloat16()):
                    wrong.append(f"aggregate, {reducer}, {name}, bfloat16: not float32 rounded once")
            except Exception as error:
                wrong.append(f"aggregate, {reducer}, {name}, bfloat16: {type(error).__name__}: {error}")
    for widths in ((5, 7, 3),) if quick else ((5, 7, 3), (32, 64, 32), (40, 80, 40), (56, 112, 56), (112, 224, 112)):
        for rows in (1, 37) if quick else (1, 37, 13_253):
            layers = [leaves_of(rows, *widths, seed) for seed in range(3)]
            check(f"perceptron, {rows} rows of {widths}", perceptron_on, *layers)
    return wrong


def run_tests(*arguments: str) -> str:
    """The last line that pytest printed; raises if a test failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *arguments]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    print(done.stdout[-4000:])
    if done.returncode:
        raise AssertionError(f"tests marked gpu failed (pytest returned {done.returncode})")
    return done.stdout.strip().splitlines()[-1]


def batch_on(device: Any) -> Any:
    """One part of ten of ogbn-proteins in shape, on the device, the by-source form included."""
    from benchmarks.step import Batch
    from revgnn.data.generated.synthetic import proteins_shaped

    batch = Batch.on(proteins_shaped())
    assert batch.graph.by_source.dst.numel()
    graph = batch.graph.to(device)
    return batch._replace(graph=graph, **{n: getattr(batch, n).to(device) for n in batch._fields if n != "graph"})


def measure_steps(batch: Any, device: Any, repeats: int) -> list[dict[str, Any]]:
    from benchmarks import harness, step
    from benchmarks.peers.pyg import PyGNet

    found = []
    for shape in SHAPES:
        args = argparse.Namespace(family="reversible", **shape)
        features = batch.graph.num_edge_features
        widths = {"in_channels": features, "out_channels": step.TASKS, "num_edge_features": features, "num_species": step.SPECIES}
        theirs = PyGNet(**shape, family="reversible", edges="shared", dropout=step.DROPOUT, **widths)
        contestants = {
            "revgnn": step.step(step.our_model(args, batch.graph).to(device).train(), step.our_logits, batch),
            "PyG": step.step(theirs.to(device).train(), step.their_logits, batch),
        }
        for work in contestants.values():  # kernels are compiled, the allocator has its blocks
            work(), work()
        peak = harness.memory(contestants, device)
        seconds = harness.interleaved(contestants, repeats, device)
        gain = harness.ratios(seconds["PyG"], seconds["revgnn"])
        found.append({**shape, "seconds": seconds, "peak_bytes": peak, "speed_up": gain._asdict()})
        for name in contestants:
            print(f"{shape}: {name}: {harness.Spread.of(seconds[name]).text()} s, {harness.megabytes(peak[name])}")
        print(f"{shape}: revgnn is faster by {gain.text()}")
    return found


def measure_epochs(batch: Any, device: Any, limit: float) -> list[dict[str, Any]]:
    """Seconds of one step, times the 10 parts of an epoch: extrapolated, without partitioning, transfers and the optimiser."""
    from benchmarks import harness, step

    found = []
    for name, shape in NAMED.items():
        args = argparse.Namespace(family="reversible", **{k: v for k, v in shape.items() if k != "dropout"})
        work = step.step(step.our_model(args, batch.graph, dropout=shape["dropout"]).to(device).train(), step.our_logits, batch)
        work()
        peak = harness.memory({name: work}, device)[name]
        seconds, start = [], time.perf_counter()
        while len(seconds) < 5 and time.perf_counter() - start < limit:
            seconds += harness.interleaved({name: work}, 1, device)[name]
        epoch = harness.Spread.of([PARTS * s for s in seconds])
        found.append(
            {
                "model": name,
                "steps": len(seconds),
                "seconds": seconds,
                "extrapolated_epoch_seconds": epoch._asdict(),
                "peak_bytes": peak,
            }
        )
        print(f"{name}: {epoch.text()} s an epoch, extrapolated from {len(seconds)} steps; {harness.megabytes(peak)}")
    return found


def measure_captured(batch: Any, device: Any, limit: float) -> list[dict[str, Any]]:
    """A step replayed as one CUDA graph beside the same step launched kernel by kernel, in turns; each network for itself."""
    return [
        guarded(name, lambda name=name, shape=shape: captured(name, shape, batch, device, limit))
        for name, shape in CAPTURED.items()
    ]


def captured(name: str, shape: dict[str, Any], batch: Any, device: Any, limit: float) -> dict[str, Any]:
    import torch

    from benchmarks import harness, step
    from revgnn import CapturedStep

    on_gpu = device.type == "cuda"
    reserved = torch.cuda.memory_reserved if on_gpu else lambda: 0
    args = argparse.Namespace(family="reversible", **{k: v for k, v in shape.items() if k != "dropout"})
    model = step.our_model(args, batch.graph, dropout=shape["dropout"]).to(device).train()
    launched = step.step(model, step.our_logits, batch)

    def differentiate() -> Any:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(step.our_logits(model, batch), batch.y)
        loss.backward()
        return loss

    replayed = CapturedStep(differentiate, model)
    for _ in range(3):
        replayed()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    before, start = reserved(), time.perf_counter()
    replayed()  # recorded, and replayed once
    if on_gpu:
        torch.cuda.synchronize()
    recording, pool = time.perf_counter() - start, reserved() - before
    gradients = []
    for work in (launched, replayed):
        torch.manual_seed(0)  # the same dropout mask
        work()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    if not all(torch.equal(a, b) for a, b in zip(*gradients, strict=True)):
        raise AssertionError("a replay has other gradients than the step it was recorded from; nothing is timed")
    del gradients
    contestants, start = {"launched": launched, "replayed": replayed}, time.perf_counter()
    peak = harness.memory({"launched": launched}, device)["launched"]
    seconds: dict[str, list[float]] = {key: [] for key in contestants}
    while len(seconds["launched"]) < 10 and time.perf_counter() - start < limit:
        for key, more in harness.interleaved(contestants, 1, device).items():
            seconds[key] += more
    gain = harness.ratios(seconds["launched"], seconds["replayed"])
    for key in contestants:
        print(f"{name}: {key}: {harness.Spread.of(seconds[key]).text()} s")
    print(f"{name}: replayed is faster by {gain.text()}; recorded in {recording:.3g} s, {harness.megabytes(pool)} for the graph")
    return {
        "model": name,
        "seconds": seconds,
        "speed_up": gain._asdict(),
        "recording_seconds": recording,
        "launched_peak_bytes": peak,
        "pool_bytes": pool,
    }


def guarded(name: str, work: Any) -> Any:
    """What `work` returns, or what went wrong, which is printed too: one part that fails is no reason to lose the others."""
    try:
        return work()
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{name}: not measured: {message}", file=sys.stderr)
        return {"model": name, "failed": message[:2000]}


def main() -> int:
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="only check the kernels, in the interpreter on the CPU")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"these packages are needed and missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    if args.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported
    import torch

    if not args.dry_run and not torch.cuda.is_available():
        print("there is no CUDA device; --dry-run checks the kernels without one", file=sys.stderr)
        return 2
    device = torch.device("cpu" if args.dry_run else "cuda")
    wrong = check_kernels(device, args.dry_run)
    if wrong:
        print("no figures, because the results are wrong:", *wrong, sep="\n", file=sys.stderr)
        return 1
    print("every kernel agrees with its definition", flush=True)
    if args.dry_run:
        print("nothing was timed")
        return 0
    from benchmarks import harness

    try:
        tests = run_tests("tests", *(f"--ignore={path}" for path in CAPTURE_TESTS))
    except AssertionError as error:
        print(f"no figures: {error}", file=sys.stderr)
        return 1
    batch = batch_on(device)
    line = {"benchmark": "gpu", "nodes": batch.graph.num_nodes, "edges": batch.graph.num_edges, "tests": tests}
    line |= {
        "dtype": "float32",
        "steps": guarded("steps", lambda: measure_steps(batch, device, args.repeats)),
        "models": guarded("models", lambda: measure_epochs(batch, device, 45.0)),
    }
    # last: an error while a graph is recorded may leave the device unusable for this process
    line["capture_tests"] = guarded("tests of replayed steps", lambda: run_tests(*CAPTURE_TESTS))
    left = 60.0 * MINUTES - (time.perf_counter() - began)
    if isinstance(line["capture_tests"], str) and left > 60.0:
        line["captured"] = measure_captured(batch, device, min(40.0, left / 4))
    else:
        print(f"steps are not replayed: {'their tests failed' if left > 60.0 else 'no time is left'}", file=sys.stderr)
    print(f"added to {harness.append_line({**line, **harness.record(device)}, 'gpu', ROOT / 'benchmarks' / 'results')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
