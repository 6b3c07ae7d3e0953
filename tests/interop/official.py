"""Checkpoints in the layout of the authors' code, with random weights, and what their networks compute, in plain torch.

Written from the description of their files and formulas.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.graph import Graph

LOW, HIGH = 1e-7, 10.0


class Random:
    """Draws the tensors of a state dict."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.tensors: dict[str, Tensor] = {}

    def normal(self, name: str, *shape: int, scale: float | None = None, mean: float = 0.0) -> None:
        scale = shape[-1] ** -0.5 if scale is None else scale
        self.tensors[name] = mean + scale * torch.randn(shape, generator=self._generator)

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.normal(f"{name}.weight", outputs, inputs)
        self.normal(f"{name}.bias", outputs, scale=0.1)

    def norm(self, name: str, channels: int, kind: str) -> None:
        self.normal(f"{name}.weight", channels, scale=0.1, mean=1.0)
        self.normal(f"{name}.bias", channels, scale=0.1)
        if kind == "batch":
            self.normal(f"{name}.running_mean", channels, scale=0.1)
            self.tensors[f"{name}.running_var"] = torch.rand(channels, generator=self._generator) + 0.5
            self.tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)


DEFAULTS: dict[str, Any] = {
    "num_layers": 3,
    "hidden_channels": 12,
    "group": 2,
    "norm": "layer",
    "mlp_layers": 2,
    "gcn_aggr": "max",
    "t": 1.0,
    "learn_t": False,
    "p": 1.0,
    "learn_p": False,
    "y": 0.0,
    "learn_y": False,
    "msg_norm": False,
    "learn_msg_scale": False,
    "dropout": 0.1,
    "use_one_hot_encoding": True,
    "num_tasks": 3,
}
"""Arguments of their program; a few layers and channels."""


def revgnn(species: int = 4, **changes: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return arguments of their program, and a state dict of the network that it builds with them."""
    args = {**DEFAULTS, **changes}
    random, aggr = Random(), args["gcn_aggr"]
    channels, width = args["hidden_channels"], args["hidden_channels"] // args["group"]
    for layer in range(args["num_layers"]):
        for group in range(args["group"]):
            block = f"gcns.{layer}._fn.Fms.{group}"
            random.norm(f"{block}.norm", width, args["norm"])
            if args["learn_t"] and aggr in ("softmax", "softmax_sum"):
                random.normal(f"{block}.gcn.t", 1, scale=0.2, mean=args["t"])
            if args["learn_p"] and aggr in ("power", "power_sum"):
                random.normal(f"{block}.gcn.p", 1, scale=0.2, mean=args["p"])
            if aggr.endswith("_sum"):
                random.normal(f"{block}.gcn.y", 1, scale=0.3 if args["learn_y"] else 0.0, mean=args["y"])
            widths = [width, *[2 * width] * (args["mlp_layers"] - 1), width]
            for n in range(args["mlp_layers"]):
                random.linear(f"{block}.gcn.mlp.{3 * n}", widths[n + 1], widths[n])
                if n < args["mlp_layers"] - 1:
                    random.norm(f"{block}.gcn.mlp.{3 * n + 1}", widths[n + 1], args["norm"])
            if args["msg_norm"]:
                random.normal(f"{block}.gcn.msg_norm.msg_scale", 1, scale=0.2 if args["learn_msg_scale"] else 0.0, mean=1.0)
            random.linear(f"{block}.gcn.edge_encoder", width, channels)
    random.norm("last_norm", channels, args["norm"])
    if args["use_one_hot_encoding"]:
        random.linear("node_one_hot_encoder", species, species)
    random.linear("node_features_encoder", channels, 8 + (species if args["use_one_hot_encoding"] else 0))
    random.linear("edge_encoder", channels, 8)
    random.linear("node_pred_linear", args["num_tasks"], channels)
    return args, random.tensors


def _linear(tensors: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ tensors[f"{name}.weight"].t() + tensors[f"{name}.bias"]


def _norm(tensors: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    if f"{name}.running_mean" in tensors:
        return F.batch_norm(x, tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"], weight, bias)
    return F.layer_norm(x, x.shape[1:], weight, bias)


def _aggregate(tensors: dict[str, Tensor], args: dict[str, Any], conv: str, m: Tensor, graph: Graph) -> Tensor:
    aggr, rows = args["gcn_aggr"], []
    t, p = (tensors.get(f"{conv}.{name}", torch.tensor(float(args[name]))) for name in ("t", "p"))
    for node in range(graph.num_nodes):
        own = m[graph.dst == node]
        if aggr.startswith("power"):
            mean = (own.clamp(LOW, HIGH) ** p).mean(0) if len(own) else torch.zeros_like(m[0])
            a = mean.clamp(LOW, HIGH) ** (1 / p)
        elif not len(own):
            a = torch.zeros_like(m[0])
        elif aggr.startswith("softmax"):
            a = ((t * own).softmax(0) * own).sum(0)
        else:
            a = {"max": own.amax(0), "mean": own.mean(0), "add": own.sum(0)}[aggr]
        if aggr.endswith("_sum"):
            a = a * len(own) ** tensors[f"{conv}.y"].sigmoid()
        rows.append(a)
    return torch.stack(rows)


def predict_revgnn(tensors: dict[str, Tensor], args: dict[str, Any], graph: Graph, x: Tensor, species: Tensor) -> Tensor:
    """Return the logits of their network in evaluation mode, in float64.

    Args:
        species: in ascending order of their numbers; their encoder takes the largest first.
    """
    tensors = {name: t.double() for name, t in tensors.items()}
    inputs = x.double()
    if args["use_one_hot_encoding"]:
        kinds = tensors["node_one_hot_encoder.weight"].shape[1]
        one_hot = F.one_hot((species + 1) % kinds, kinds).double()
        inputs = torch.cat([inputs, _linear(tensors, "node_one_hot_encoder", one_hot)], 1)
    h = _linear(tensors, "node_features_encoder", inputs)
    edges = _linear(tensors, "edge_encoder", graph.edge_features().double())
    for layer in range(args["num_layers"]):
        xs = h.chunk(args["group"], 1)
        y, out = sum(xs[1:]), []
        for group, x_i in enumerate(xs):
            block = f"gcns.{layer}._fn.Fms.{group}"
            conv = f"{block}.gcn"
            z = _norm(tensors, f"{block}.norm", y).relu()
            m = (z[graph.src] + _linear(tensors, f"{conv}.edge_encoder", edges)).relu() + 1e-7
            a = _aggregate(tensors, args, conv, m, graph)
            if args["msg_norm"]:
                a = F.normalize(a, dim=1) * z.norm(dim=1, keepdim=True) * tensors[f"{conv}.msg_norm.msg_scale"]
            f = z + a
            for n in range(args["mlp_layers"]):
                f = _linear(tensors, f"{conv}.mlp.{3 * n}", f)
                if n < args["mlp_layers"] - 1:
                    f = _norm(tensors, f"{conv}.mlp.{3 * n + 1}", f).relu()
            y = x_i + f
            out.append(y)
        h = torch.cat(out, 1)
    return _linear(tensors, "node_pred_linear", _norm(tensors, "last_norm", h).relu())


# --- RevGAT -----------------------------------------------------------------------------------------------------------------------

REVGAT_DEFAULTS: dict[str, Any] = {
    "n_layers": 4,
    "n_hidden": 4,
    "n_heads": 3,
    "group": 2,
    "dropout": 0.75,
    "input_drop": 0.25,
    "edge_drop": 0.3,
    "no_attn_dst": True,
    "use_norm": True,
    "use_labels": False,
}


def revgat(inputs: int = 8, classes: int = 3, **changes: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return arguments of their program, and a state dict of the network that it builds with them."""
    args = {**REVGAT_DEFAULTS, **changes}
    random, heads, width = Random(), args["n_heads"], args["n_heads"] * args["n_hidden"]

    def conv(name: str, wide: int, heads: int, channels: int) -> None:
        random.normal(f"{name}.attn_l", 1, heads, channels)
        if not args["no_attn_dst"]:
            random.normal(f"{name}.attn_r", 1, heads, channels)
        random.normal(f"{name}.fc.weight", heads * channels, wide)
        random.normal(f"{name}.res_fc.weight", heads * channels, wide)

    conv("convs.0", inputs, heads, args["n_hidden"])
    for layer in range(1, args["n_layers"] - 1):
        for group in range(args["group"]):
            block = f"convs.{layer}._fn.Fms.{group}"
            random.norm(f"{block}.norm", width // args["group"], "batch")
            conv(f"{block}.conv", width // args["group"], heads, args["n_hidden"] // args["group"])
    conv(f"convs.{args['n_layers'] - 1}", width, 1, classes)
    random.norm("norm", width, "batch")
    random.normal("bias_last.bias", classes, scale=0.1)
    return args, random.tensors


def predict_revgat(tensors: dict[str, Tensor], args: dict[str, Any], graph: Graph, x: Tensor) -> Tensor:
    """Return the logits of their network in evaluation mode, in float64."""
    tensors = {name: t.double() for name, t in tensors.items()}

    def conv(name: str, x: Tensor) -> Tensor:
        vectors = tensors[f"{name}.attn_l"]
        h = plain = (x @ tensors[f"{name}.fc.weight"].t()).view(len(x), *vectors.shape[1:])
        if args["use_norm"]:
            h = h * graph.out_degree.clamp(min=1).double().pow(-0.5).view(-1, 1, 1)
        scores = (h * vectors).sum(-1)[graph.src]
        if not args["no_attn_dst"]:
            scores = scores + (plain * tensors[f"{name}.attn_r"]).sum(-1)[graph.dst]
        scores, out = F.leaky_relu(scores, 0.2), torch.zeros_like(h)
        for node in range(graph.num_nodes):
            into = graph.dst == node
            out[node] = (scores[into].softmax(0).unsqueeze(-1) * h[graph.src[into]]).sum(0)
        if args["use_norm"]:
            out = out * graph.in_degree.clamp(min=1).double().pow(0.5).view(-1, 1, 1)
        return out + (x @ tensors[f"{name}.res_fc.weight"].t()).view_as(out)

    h = conv("convs.0", x.double()).flatten(1)
    for layer in range(1, args["n_layers"] - 1):
        xs = h.chunk(args["group"], 1)
        y, states = sum(xs[1:]), []
        for group, x_i in enumerate(xs):
            block = f"convs.{layer}._fn.Fms.{group}"
            y = x_i + conv(f"{block}.conv", _norm(tensors, f"{block}.norm", y).relu()).flatten(1)
            states.append(y)
        h = torch.cat(states, 1)
    h = _norm(tensors, "norm", h).relu()
    return conv(f"convs.{args['n_layers'] - 1}", h).mean(1) + tensors["bias_last.bias"]
