"""Our training step beside PyTorch Geometric's, in turns, in one process, on the shape of one training batch of ogbn-proteins.

    revgnn bench step --channels 64 --groups 2 --depth 7

First both networks get the same weights and must give the same logits and gradients in float64, and the fused aggregation must
agree with its definition on a part of the graph; else nothing is timed. A step is forward, loss and backward, in training mode.

PyTorch Geometric may be set up in many ways. Without --peers each is tried for one step, and the fastest with the shared edge
encoder (the paper's network, and ours) and the fastest without it (a smaller network) then take turns with ours. The speed-up that
counts is the one over the faster of the two. A variant whose gradients differ from those of the plain one does not take part.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn import GENConv

from benchmarks import harness
from benchmarks.peers.pyg import VARIANTS, PyGNet, Variant, carry_over, edge_index_of, fold_edges
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model
from revgnn.ops.aggregate import Max, aggregate, reference
from revgnn.testing import assert_close_to_truth

SPECIES = 8
TASKS = 112
DROPOUT = 0.1
SHAPES = {"narrow": {"channels": 64, "groups": 2, "depth": 7}, "wide": {"channels": 224, "groups": 4, "depth": 3}}
"""The two that are quoted."""
STORED, WORKING = 2.1, 9
"""Tensors of E x C, float32, that a `GENConv` keeps for its backward pass, and that there are while one is differentiated."""
QUICK = {"nodes": 200, "edges": 3000, "channels": 16, "depth": 2, "repeats": 2, "peers": ["shared", "raw+EdgeIndex"]}


class Batch(NamedTuple):
    """Inputs and labels as ogbn-proteins has them: summed edge features, species, 112 yes-or-no tasks."""

    graph: Graph
    edge_index: Tensor
    edge_attr: Tensor
    x: Tensor
    species: Tensor
    y: Tensor

    @classmethod
    def on(cls, graph: Graph) -> Batch:
        assert graph.edge_attr is not None
        nodes = graph.num_nodes
        x = torch.zeros(nodes, graph.num_edge_features, dtype=graph.edge_attr.dtype).index_add_(0, graph.dst, graph.edge_attr)
        species = torch.randint(0, SPECIES, (nodes,))
        y = torch.randint(0, 2, (nodes, TASKS)).to(x.dtype)
        return cls(graph, graph.edge_index, graph.edge_attr, x, species, y)

    def double(self) -> Batch:
        graph = self.graph.with_edge_attr(self.edge_attr.double())
        return Batch(graph, self.edge_index, self.edge_attr.double(), self.x.double(), self.species, self.y.double())


def our_logits(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.graph, batch.x, batch.species)


def their_logits(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.x, batch.edge_index, batch.edge_attr, batch.species)


def step(model: nn.Module, logits: Callable[[nn.Module, Batch], Tensor], batch: Batch) -> Callable[[], None]:
    def run() -> None:
        model.zero_grad(set_to_none=True)
        nn.functional.binary_cross_entropy_with_logits(logits(model, batch), batch.y).backward()

    return run


def our_model(args: argparse.Namespace, graph: Graph, **changes: Any) -> nn.Module:
    shape = {key: getattr(args, key) for key in ("family", "depth", "channels", "groups")}
    config = ModelConfig(**{**shape, "conv": "gen", "aggregation": "max", "dropout": DROPOUT, **changes})
    features = graph.num_edge_features
    return build_model(config, in_channels=features, out_channels=TASKS, num_edge_features=features, num_species=SPECIES)


def their_model(args: argparse.Namespace, graph: Graph, variant: Variant) -> PyGNet:
    return PyGNet(
        family=args.family,
        edges=variant.edges,
        storing=variant.storing,
        depth=args.depth,
        channels=args.channels,
        groups=args.groups,
        dropout=DROPOUT,
        in_channels=graph.num_edge_features,
        out_channels=TASKS,
        num_edge_features=graph.num_edge_features,
        num_species=SPECIES,
    )


def check_same_network(args: argparse.Namespace) -> None:
    """Ours and theirs are the same function of the same weights: logits and gradients agree to float64's rounding."""
    batch = Batch.on(proteins_shaped(300, 6001)).double()
    small = argparse.Namespace(**{**vars(args), "depth": min(args.depth, 3)})
    # The grid rounds the state, which is not part of what the two have in common.
    ours = our_model(small, batch.graph, state="float64").double().eval()
    theirs = their_model(small, batch.graph, Variant("shared")).double().eval()
    weights = carry_over({name: p.detach() for name, p in ours.named_parameters()})
    theirs.load_state_dict(weights)
    results = {}
    for name, model, logits in (("ours", ours, our_logits), ("theirs", theirs, their_logits)):
        out = logits(model, batch)
        nn.functional.binary_cross_entropy_with_logits(out, batch.y).backward()
        gradients = {key: p.grad for key, p in model.named_parameters()}
        results[name] = {"logits": out.detach(), **(carry_over(gradients) if name == "ours" else gradients)}
    if results["ours"].keys() != results["theirs"].keys():
        raise AssertionError(f"the networks have different parameters: {sorted(results['ours'].keys() ^ results['theirs'].keys())}")
    for key, expected in results["theirs"].items():
        gap = float((results["ours"][key] - expected).abs().max())
        if not gap <= 1e-10 * max(1.0, float(expected.abs().max())):
            raise AssertionError(f"{key} differs from PyTorch Geometric's by {gap:.3g} in float64")
    raw = their_model(small, batch.graph, Variant("raw")).double().eval()
    raw.load_state_dict(fold_edges(weights))
    with torch.no_grad():
        gap = float((their_logits(raw, batch) - results["theirs"]["logits"]).abs().max())
    if not gap <= 1e-10:
        raise AssertionError(f"PyTorch Geometric's logits without the shared edge encoder differ by {gap:.3g} in float64")


def check_aggregate(args: argparse.Namespace, graph: Graph) -> None:
    """In float32 the fused aggregation is as close to the truth as plain torch is, on a part of the graph, gradients included."""
    part = graph.subgraph(torch.randperm(graph.num_nodes)[: min(graph.num_nodes, 2000)])
    edge_attr = part.edge_attr
    assert edge_attr is not None
    width = args.channels // (args.groups if args.family == "reversible" else 1)
    tensors = {
        "x": torch.randn(part.num_nodes, width),
        "weight": torch.randn(part.num_edge_features, width),
        "bias": torch.randn(width),
    }
    upstream = torch.randn(part.num_nodes, width)

    def run(call: Callable[..., Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        leaves = {name: t.to(dtype).requires_grad_() for name, t in tensors.items()}
        out = call(leaves["x"], part, edge_attr.to(dtype), leaves["weight"], leaves["bias"], how=Max())
        gradients = torch.autograd.grad(out, list(leaves.values()), upstream.to(dtype))
        return {"aggregate": out, **{f"gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)}}

    ours, plain = run(aggregate, torch.float32), run(reference.aggregate, torch.float32)
    truth = run(reference.aggregate, torch.float64)
    for name in truth:
        assert_close_to_truth(ours[name], plain[name], truth[name], name)


class Peer:
    """One way to set PyTorch Geometric up, on a batch.

    Args:
        args: shape of the network.
        variant: the way.
        batch: what it is trained on.
    """

    def __init__(self, args: argparse.Namespace, variant: Variant, batch: Batch) -> None:
        self.variant = variant
        self.batch = batch._replace(edge_index=edge_index_of(variant, batch.edge_index, batch.graph.num_nodes))
        torch.manual_seed(0)  # variants with the same edges begin with the same weights
        self.model = their_model(args, batch.graph, variant).train()
        if variant.compiled:
            self.model.compile_blocks()
        self.step = step(self.model, their_logits, self.batch)

    def gradients(self) -> dict[str, Tensor]:
        """Of one step with the same dropout for all. It also is the warm-up, and compiles what is to be compiled."""
        torch.manual_seed(1)
        self.step()
        return {name: p.grad.detach().clone() for name, p in self.model.named_parameters() if p.grad is not None}

    def stored_bytes(self) -> int:
        """Roughly what a storing variant needs, so that one that does not fit is not begun."""
        widths = [m.out_channels for m in self.model.modules() if isinstance(m, GENConv)]
        return round(4 * self.batch.graph.num_edges * (STORED * sum(widths) + WORKING * max(widths)))


def same_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> None:
    """In float32, where sums in another order differ by their rounding only: far nearer than any other network would be.

    Raises:
        AssertionError: if they are not.
    """
    for key, truth in expected.items():
        gap = float((found[key] - truth).norm())
        if not gap <= 1e-3 * float(truth.norm()) + 1e-6:
            raise AssertionError(f"{name}: the gradient of {key} differs from that of the plain variant by {gap:.3g}")


class Heats(NamedTuple):
    """What came of trying the variants."""

    seconds: dict[str, float]
    peak_bytes: dict[str, int | None]
    """None where it is not known: what compiled code allocates is not counted."""
    left_out: dict[str, str]
    """Reasons, by variant."""


def run_heats(
    args: argparse.Namespace, variants: Sequence[Variant], batch: Batch, heats: Heats, tick: Callable[..., None]
) -> dict[Variant, Peer]:
    """Every variant takes a step to warm up, is compared with the plain one, and is timed once. Returns the fastest with the
    shared encoder and the fastest without."""
    best: dict[str, Peer] = {}
    plain: dict[str, dict[str, Tensor]] = {}
    for variant in variants:
        name = str(variant)
        gc.collect()
        peer = Peer(args, variant, batch)
        limit = harness.available_bytes()
        if variant.storing and limit is not None and peer.stored_bytes() > 0.7 * limit:
            heats.left_out[name] = f"needs about {peer.stored_bytes() / 1e9:.0f} GB, and {limit / 1e9:.0f} GB are free"
            continue
        if variant.edges not in plain:
            plain[variant.edges] = Peer(args, Variant(variant.edges), batch).gradients()
        try:
            if variant.compiled:  # the meter does not see into compiled code
                heats.peak_bytes[name] = None
                found = peer.gradients()
            else:
                found = {}
                heats.peak_bytes[name] = harness.memory({name: lambda peer=peer, found=found: found.update(peer.gradients())})[name]
            same_gradients(found, plain[variant.edges], name)
            start = time.perf_counter()
            peer.step()
            heats.seconds[name] = time.perf_counter() - start
        except Exception as error:  # whatever a compiler may raise: the others can still be measured
            heats.left_out[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            heats.peak_bytes.pop(name, None)
            continue
        finally:
            tick(name)
        champion = best.get(variant.edges)
        if champion is None or heats.seconds[name] < heats.seconds[str(champion.variant)]:
            best[variant.edges] = peer
    return {peer.variant: peer for peer in best.values()}


def title(variant: Variant, family: str) -> str:
    """What a row of the table calls it."""
    layers = "`GroupAddRev`" if family == "reversible" else "`DeepGCNLayer`"
    stored = "storing every layer" if variant.storing else "reversing" if family == "reversible" else "checkpointing every layer"
    edges = "shared edge encoder" if variant.edges == "shared" else "raw edge features: a smaller network"
    extras = [word for word in (variant.edge_index, "torch.compile" if variant.compiled else "") if word]
    return f"PyTorch Geometric: {layers}, {stored}, {edges}, {', '.join(extras)}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("step", __doc__)
    parser.add_argument("--family", choices=["reversible", "residual"], default="reversible")
    parser.add_argument("--shape", choices=SHAPES, help="sets channels, groups and depth: narrow is 64, 2, 7, wide 224, 4, 3")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds; a round is one step of each")
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
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
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    if not harness.all_right(lambda: check_aggregate(args, graph), lambda: check_same_network(args)):
        return 1
    batch = Batch.on(graph)
    graph.by_source  # noqa: B018 # pyright: ignore[reportUnusedExpression] (both begin with the graph in the form they use)
    keys = ("family", "channels", "groups", "depth", "nodes", "edges", "repeats")
    shape = {**{key: getattr(args, key) for key in keys}, "dtype": "float32"}
    with harness.result_line("step", shape, args) as result:
        heats = Heats({}, {}, {})
        variants = args.peers or VARIANTS
        result |= {"heats": heats._asdict(), "seconds": {}, "peak_bytes": {}}
        with harness.progress("trying PyTorch Geometric", len(variants), quiet=args.quick) as tick:
            peers = run_heats(args, variants, batch, heats, tick)
        if args.peers:  # all that were asked for take turns, not only the fastest
            peers = {v: peers.get(v) or Peer(args, v, batch) for v in variants if str(v) in heats.seconds}
        ours = our_model(args, graph).train()
        contestants = {"revgnn": step(ours, our_logits, batch)} | {f"PyG, {v}": peer.step for v, peer in peers.items()}
        contestants["revgnn"]()  # kernels are compiled for these widths
        result["peak_bytes"] |= harness.memory({"revgnn": contestants["revgnn"]})
        result["peak_bytes"] |= {f"PyG, {v}": heats.peak_bytes[str(v)] for v in peers}
        if args.peers:
            for name, work in contestants.items():
                if name != "revgnn":
                    work()
        with harness.progress("in turns", args.repeats * len(contestants), quiet=args.quick) as tick:
            harness.interleaved(contestants, args.repeats, into=result["seconds"], tick=tick)
        finish(result)
        if not args.json:
            print(show(result, peers))
    return 0


def finish(result: dict[str, Any]) -> None:
    """Add the ratios, and which of them counts."""
    seconds = result["seconds"]
    faster = {name: harness.ratios(seconds[name], seconds["revgnn"]) for name in seconds if name != "revgnn"}
    result["speed_up"] = {name: spread._asdict() for name, spread in faster.items()}
    result["counts"] = min(faster, key=lambda name: harness.Spread.of(seconds[name]).median, default=None)


def show(result: Mapping[str, Any], peers: Mapping[Variant, Peer]) -> str:
    seconds, peak, faster = result["seconds"], result["peak_bytes"], result["speed_up"]
    titles = {"revgnn": "revgnn"} | {f"PyG, {v}": title(v, result["family"]) for v in peers}
    rows = [
        [
            titles[name] + (" (counts)" if name == result["counts"] else ""),
            harness.Spread.of(seconds[name]).text(),
            "not counted" if peak[name] is None else harness.megabytes(peak[name]),
            harness.Spread(**faster[name]).text() if name in faster else "",
        ]
        for name in seconds
    ]
    shape = "{nodes:,} nodes, {edges:,} edges, {channels} channels, {groups} groups, {depth} layers, float32".format(**result)
    lines = [
        f"One training step, {result['family']}, {shape}; {result['repeats']} rounds in turns.",
        f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}, commit {result['commit']}\n",
        harness.table(["", "seconds, median (range)", "peak", "revgnn is faster by, median (range)"], rows),
    ]
    if result["heats"]["seconds"]:
        tried = ", ".join(f"{name} {s:.3g} s" for name, s in sorted(result["heats"]["seconds"].items(), key=lambda item: item[1]))
        lines.append(f"\nTried, one step each: {tried}.")
    lines += [f"Left out: {name} ({reason})" for name, reason in result["heats"]["left_out"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
