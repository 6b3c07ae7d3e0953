"""Where the time of a training step goes, part by part, and how far it is from the sum of its bounds.

    revgnn bench profile                   # RevGNN-64: 112 layers, 2 groups
    revgnn bench profile --shape wide      # RevGNN-224: 28 layers, 4 groups

On the shape of one training batch of ogbn-proteins, after results are checked. Three kinds of step take turns in one process: as it
is; with the seconds inside each kernel of ours noted; with those of each of torch's operators noted. What the step as it is takes
beyond both is Python, autograd and the launching of kernels. Encoder, head and loss are among torch's operators, and in
their seconds is a call of each from Python, some microseconds, which autograd makes for less.

Beside each part stands its bound, measured in the same run: multiply-adds over the rate from registers, bytes over the rate of a
copy (of the size of a group's state, where the caches copy faster), and for the aggregation the rows gathered; the largest of those
binds. torch's operators are bounded by the bytes of what goes in and comes out, as they are: passes that could be fused away
count in full. The rest is bounded by nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import bounds, harness, kernels, strategies
from benchmarks.step import Batch, check_aggregate, our_logits, our_model, step
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.kernels.cpu import launch
from revgnn.memory import python_kernel
from revgnn.ops.aggregate import Max

SHAPES = {"narrow": {"channels": 64, "groups": 2, "depth": 112}, "wide": {"channels": 224, "groups": 4, "depth": 28}}
"""RevGNN-64 and RevGNN-224 of the paper."""
PARTS = {
    "max_forward": "aggregate, forward",
    "max_backward_x": "aggregate, backward",
    "max_backward_edges": "aggregate, backward",
    "perceptron_forward": "perceptron, forward",
    "perceptron_backward": "perceptron, backward",
    "norm_relu_forward": "norm_relu, forward",
    "norm_relu_backward": "norm_relu, backward",
    "advance_kernel": "grid, forward and back",
}
"""What the kernels of these factories belong to; one that is not here is a part of its own, without a bound."""
REST = "rest: Python, autograd"
OTHERS = "torch: all others"
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "groups": 2, "depth": 3, "repeats": 2}


class Least(NamedTuple):
    """What one evaluation in a block must do at least, and how many there are in a step, for each block."""

    evaluations: int
    operations: int = 0
    moved: int = 0
    gather_seconds: float = 0.0


def least(graph: Graph, width: int) -> dict[str, Least]:
    """By part, for blocks of `width` channels around a perceptron twice as wide, reversed, with a dropout mask.

    A block is evaluated in the forward and again in the backward pass. Multiply-adds of the perceptron: its two products; backward
    the first one once more, and two for each gradient of a product.
    """
    nodes = graph.num_nodes
    state, product = 4 * nodes * width, nodes * width * 2 * width
    walk = kernels.least_work(kernels.Case(graph, width, Max()))
    gather = kernels.gather_bounds(graph, width)["forward"]
    forward, backward = walk["forward"], walk["backward"]
    return {
        # the first of the two evaluations keeps no winners
        "aggregate, forward": Least(2, forward.operations, forward.moved - state, forward.rows * gather),
        "aggregate, backward": Least(1, backward.operations, backward.moved),
        "perceptron, forward": Least(2, 2 * product, 2 * state),
        "perceptron, backward": Least(1, 5 * product, 3 * state),
        "norm_relu, forward": Least(2, 0, 3 * state),
        "norm_relu, backward": Least(1, 0, 4 * state),
        "grid, forward and back": Least(2, 0, 3 * state),
    }


class Noted(NamedTuple):
    """Seconds, bytes and calls of some part in one step."""

    seconds: float = 0.0
    moved: int = 0
    calls: int = 0

    def and_also(self, seconds: float, moved: int = 0) -> Noted:
        return Noted(self.seconds + seconds, self.moved + moved, self.calls + 1)


Notes = defaultdict[str, Noted]


@contextmanager
def kernels_noted(into: Notes) -> Iterator[None]:
    """Inside, `into` takes in each kernel of ours, by part."""

    def note(name: str, seconds: float) -> None:
        part = PARTS.get(name, name)
        into[part] = into[part].and_also(seconds)

    launch.observer = note
    try:
        yield
    finally:
        launch.observer = None


class OperatorsNoted(TorchDispatchMode):
    """Inside, `into` takes in each of torch's own operators, those inside ours included; what Python and autograd take is not."""

    def __init__(self, into: Notes) -> None:
        super().__init__()
        self._into = into

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        kernel = python_kernel(func)
        if kernel is not None:
            with OperatorsNoted(self._into):
                return func._op_dk(kernel, *args, **kwargs)
        start = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - start
        name = f"torch: {func.overloadpacket.__name__}"
        self._into[name] = self._into[name].and_also(seconds, moved_bytes(func, args, out))
        return out


WRITE_ONLY = ("zero_", "fill_", "copy_", "bernoulli_")
"""Operators that do not read their first argument."""


def moved_bytes(func: Any, args: Sequence[Any], out: Any) -> int:
    """Of what an operator reads and writes, at least: each tensor once. Views, and memory that is only asked for, move nothing."""
    name = func.overloadpacket.__name__
    inputs = {t.untyped_storage()._cdata for t in _tensors(args)}
    is_view = not func._schema.is_mutable and inputs.issuperset(t.untyped_storage()._cdata for t in _tensors(out))
    if is_view or "empty" in name:
        return 0
    read = args[1:] if name in WRITE_ONLY else args
    # a dimension that is repeated, not stored, is read once
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in (*_tensors(read), *_tensors(out)))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for each in value for t in _tensors(each)] if isinstance(value, list | tuple) else []


def measure(run: Callable[[], None], repeats: int, tick: Callable[[str], None]) -> tuple[dict[str, list[float]], list[Notes]]:
    """Seconds of the steps of each kind, and what was noted in each round."""
    rounds: list[Notes] = []
    of_kernels: list[Notes] = []
    of_torch: list[Notes] = []

    def noting_kernels() -> None:
        of_kernels.append(defaultdict(Noted))
        with kernels_noted(of_kernels[-1]):
            run()

    def noting_operators() -> None:
        of_torch.append(defaultdict(Noted))
        with OperatorsNoted(of_torch[-1]):
            run()

    run()
    seconds = harness.interleaved(
        {"as it is": run, "kernels noted": noting_kernels, "operators noted": noting_operators}, repeats, tick=tick
    )
    for plain, ours, torchs in zip(seconds["as it is"], of_kernels, of_torch, strict=True):
        both = defaultdict(Noted, {**ours, **torchs})
        both[REST] = Noted(plain - sum(part.seconds for part in both.values()))
        rounds.append(both)
    return seconds, rounds


class Rates(NamedTuple):
    """Of the machine."""

    multiply_adds_a_second: float
    bytes_a_second: float
    """Of a large copy."""
    cached_bytes_a_second: float
    """Of a copy as large as a group's state."""

    @classmethod
    def measured(cls, state_bytes: int, quick: bool) -> Rates:
        return cls(
            bounds.rates(4_000 if quick else 400_000).multiply_add,
            bounds.bytes_a_second(2**22 if quick else 2**28),
            bounds.bytes_a_second(state_bytes),
        )


def bound_of(part: str, noted: Noted, floor: dict[str, Least], blocks: int, rates: Rates) -> dict[str, float]:
    """Seconds of a step, by kind of bound; empty where there is none."""
    bandwidth = max(rates.bytes_a_second, rates.cached_bytes_a_second)
    if part.startswith("torch: "):
        return {"bytes": noted.moved / bandwidth}
    if part not in floor:
        return {}
    work = floor[part]
    times = blocks * work.evaluations
    found = {
        "operations": times * work.operations / rates.multiply_adds_a_second,
        "bytes": times * work.moved / bandwidth,
        "gather": times * work.gather_seconds,
    }
    return {name: seconds for name, seconds in found.items() if seconds}


def parts_of(
    rounds: Sequence[Notes], floor: dict[str, Least], depth: int, groups: int, rates: Rates, most: int
) -> list[dict[str, Any]]:
    """An entry a part: ours first, then the `most` longest of torch's operators and the others as one, then the rest."""
    names = list(dict.fromkeys(name for notes in rounds for name in notes))
    middle = {name: harness.Spread.of([notes[name].seconds for notes in rounds]).median for name in names}
    ours = sorted((n for n in names if not n.startswith("torch: ") and n != REST), key=lambda n: -middle[n])
    torchs = sorted((n for n in names if n.startswith("torch: ")), key=lambda n: -middle[n])
    merged = {name: [name] for name in (*ours, *torchs[:most])}
    if torchs[most:]:
        merged[OTHERS] = torchs[most:]
    merged[REST] = [REST]
    entries = []
    for part, members in merged.items():
        last = [rounds[-1][name] for name in members]
        noted = Noted(0.0, sum(n.moved for n in last), sum(n.calls for n in last))
        by_bound = bound_of(part, noted, floor, depth * groups, rates)
        binding = max(by_bound, key=lambda name: by_bound[name], default=None)
        bound = by_bound[binding] if binding else 0.0
        seconds = harness.Spread.of([sum(notes[name].seconds for name in members) for notes in rounds])
        entries.append(
            {
                "part": part, "seconds": seconds._asdict(), "calls": noted.calls, "moved_bytes": noted.moved or None,
                "bounds_seconds": by_bound, "binding": binding, "bound_seconds": bound,
                "times_the_bound": seconds.median / bound if bound else None,
            }
        )  # fmt: skip
    return entries


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("profile", __doc__)
    parser.add_argument("--shape", choices=SHAPES, help="sets channels, groups and depth: narrow is 64, 2, 112, wide 224, 4, 28")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--depth", type=int, default=112)
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; a round is three steps")
    parser.add_argument("--operators", type=int, default=10, help="how many of torch's operators are listed by name")
    args = harness.parse(parser, argv, QUICK)
    for key, value in SHAPES.get(args.shape, {}).items():
        setattr(args, key, value)
    if args.groups < 2 or args.channels % args.groups:
        parser.error(f"--channels must be a multiple of --groups, 2 or more; got {args.channels} and {args.groups}")
    args.family = "reversible"
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    batch = Batch.on(graph)
    shallow = argparse.Namespace(**{**vars(args), "depth": min(args.depth, 3)})
    width = args.channels // args.groups
    if not harness.all_right(
        lambda: check_aggregate(args, graph),
        lambda: strategies.check(shallow, batch),
        lambda: kernels.check_gather(graph, width),
    ):
        return 1
    graph.by_source  # noqa: B018 # pyright: ignore[reportUnusedExpression] (a step begins with the graph in the form it uses)
    torch.manual_seed(0)
    run = step(our_model(args, graph).train(), our_logits, batch)
    shape = {key: getattr(args, key) for key in ("nodes", "edges", "channels", "groups", "depth", "repeats")}
    with harness.result_line("profile", {**shape, "dtype": "float32"}, args) as result:
        rates = Rates.measured(4 * graph.num_nodes * width, args.quick)
        result |= rates._asdict()
        floor = least(graph, width)
        with harness.progress("profile", 3 * args.repeats, quiet=args.quick) as tick:
            seconds, rounds = measure(run, args.repeats, tick)
        result["seconds"] = seconds
        result["parts"] = parts_of(rounds, floor, args.depth, args.groups, rates, args.operators)
        whole = sum(entry["bound_seconds"] for entry in result["parts"])
        result["bound_seconds"] = whole
        result["times_the_bound"] = harness.Spread.of([s / whole for s in seconds["as it is"]])._asdict()
        if not args.json:
            print(show(result))
    return 0


def show(result: dict[str, Any]) -> str:
    depth = result["depth"]
    whole = harness.Spread.of(result["seconds"]["as it is"])

    def row(entry: dict[str, Any]) -> list[str]:
        seconds = harness.Spread(**entry["seconds"])
        layer = harness.Spread(*(1e3 * s / depth for s in seconds))
        bound = f"{1e3 * entry['bound_seconds'] / depth:.3g} ({entry['binding']})" if entry["binding"] else ""
        times = f"{entry['times_the_bound']:.2g}" if entry["times_the_bound"] else ""
        calls = f"{entry['calls'] / depth:.3g}" if entry["calls"] else ""
        return [entry["part"], layer.text(), f"{100 * seconds.median / whole.median:.1f} %", calls, bound, times]

    header = ["", "ms a layer, median (range)", "of the step", "calls a layer", "bound, ms a layer", "times the bound"]
    shape = "{depth} layers of {channels} channels, {groups} groups; {nodes:,} nodes, {edges:,} edges, float32".format(**result)
    noted = [f"{harness.Spread.of(s).text()} s with {kind}" for kind, s in result["seconds"].items() if kind != "as it is"]
    rate, copy, cached = (result[name] for name in Rates._fields)
    bound, times = result["bound_seconds"], harness.Spread(**result["times_the_bound"])
    return "\n".join(
        [
            f"A training step of {shape}; {result['repeats']} rounds in turns.",
            f"{rate / 1e9:,.0f} G multiply-adds a second; {copy / 1e9:,.1f} GB a second copied, "
            f"{cached / 1e9:,.1f} where it is no more than a group's state\n",
            harness.table(header, map(row, result["parts"])),
            f"\nthe step takes {whole.text()} s, {1e3 * whole.median / depth:.3g} ms a layer ({'; '.join(noted)})",
            f"the sum of the bounds is {bound:.3g} s, {1e3 * bound / depth:.3g} ms a layer: "
            f"the step takes {times.text()} times that",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
