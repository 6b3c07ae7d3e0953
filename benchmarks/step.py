"""Our training step beside PyTorch Geometric's, in turns, in one process, on the shape of one training batch of ogbn-proteins.

    python -m benchmarks.step --channels 64 --groups 2 --depth 7

First both networks get the same weights and must give the same logits and gradients in float64, and the fused aggregation must
agree with its definition on a part of the graph; else nothing is timed. A step is forward, loss and backward, in training mode.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.peers.pyg import Edges, PyGNet, carry_over
from revgnn.data.synthetic import proteins_shaped
from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model
from revgnn.ops.aggregate import Max, aggregate, reference
from revgnn.testing import assert_close_to_truth

SPECIES = 8
TASKS = 112
DROPOUT = 0.1


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


def their_model(args: argparse.Namespace, graph: Graph, edges: Edges) -> PyGNet:
    return PyGNet(
        family=args.family,
        edges=edges,
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
    theirs = their_model(small, batch.graph, "shared").double().eval()
    theirs.load_state_dict(carry_over({name: p.detach() for name, p in ours.named_parameters()}))
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


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--family", choices=["reversible", "residual"], default="reversible")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds; a round is one step of each")
    parser.add_argument("--nodes", type=int, default=13_253)
    parser.add_argument("--edges", type=int, default=791_225)
    parser.add_argument("--peers", nargs="+", choices=["shared", "raw"], default=["shared"], help="see benchmarks/peers/pyg.py")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON line and nothing else")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    torch.manual_seed(0)
    graph = proteins_shaped(args.nodes, args.edges)
    try:
        check_aggregate(args, graph)
        check_same_network(args)
    except AssertionError as error:
        print(f"no figures, because the results are wrong: {error}", file=sys.stderr)
        return 1
    batch = Batch.on(graph)
    graph.by_source  # noqa: B018 (both begin with the graph in the form they use)
    ours = our_model(args, graph).train()
    contestants = {"revgnn": step(ours, our_logits, batch)}
    for edges in args.peers:
        contestants[f"PyG, {edges} edges"] = step(their_model(args, graph, edges).train(), their_logits, batch)
    contestants["revgnn"]()  # kernels are compiled for these widths
    peak = harness.memory(contestants)
    seconds = harness.interleaved(contestants, args.repeats)
    speed_up = {name: harness.ratios(seconds[name], seconds["revgnn"]) for name in contestants if name != "revgnn"}
    result = {
        "benchmark": "step",
        **{key: getattr(args, key) for key in ("family", "channels", "groups", "depth", "nodes", "edges", "repeats")},
        "dtype": "float32",
        "seconds": seconds,
        "peak_bytes": peak,
        "speed_up": {name: spread._asdict() for name, spread in speed_up.items()},
        **harness.record(),
    }
    path = harness.append_line(result, "step")
    if args.json:
        print(json.dumps(result))
        return 0
    rows = [
        [
            name,
            harness.Spread.of(seconds[name]).text(),
            harness.megabytes(peak[name]),
            speed_up[name].text() if name in speed_up else "",
        ]
        for name in contestants
    ]
    shape = (
        f"{args.nodes:,} nodes, {args.edges:,} edges, {args.channels} channels, {args.groups} groups, {args.depth} layers, float32"
    )
    print(f"One training step, {args.family}, {shape}; {args.repeats} rounds in turns.")
    print(f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}, commit {result['commit']}\n")
    print(harness.table(["", "seconds, median (range)", "peak", "revgnn is faster by, median (range)"], rows))
    print(f"\nAppended to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
