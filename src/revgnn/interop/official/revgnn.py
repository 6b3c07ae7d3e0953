"""RevGNN on ogbn-proteins: `examples/ogb_eff/ogbn_proteins/model_rev.py` of the authors' code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from revgnn.interop.official.file import OfficialError
from revgnn.interop.official.layout import Layout, Open, Reading, Settings, get, numbered, rename, reverse, unknown
from revgnn.models import ModelConfig, ReversibleConfig
from revgnn.models.config import GENConfig
from revgnn.models.layers import DataShape
from revgnn.nn.gen import LEARNS, SCALED_BY_DEGREE
from revgnn.train.config import EvalConfig, RunConfig

_BLOCK = re.compile(r"gcns\.(\d+)\._fn\.Fms\.(\d+)\.(.+)")
_OUR_BLOCK = re.compile(r"stack\.layers\.(\d+)\.blocks\.(\d+)\.(.+)")

_PARTS = {
    "last_norm.": "norm.",
    "node_one_hot_encoder.": "nodes.species.",
    "node_features_encoder.": "nodes.features.",
    "edge_encoder.": "edges.",
    "node_pred_linear.": "head.",
}
_PARTS_OF_BLOCK = {"norm.": "norm.", "gcn.mlp.": "conv.mlp.", "gcn.edge_encoder.": "conv.edge."}
_NUMBERS = {"gcn.t": "conv.learned", "gcn.p": "conv.learned", "gcn.y": "conv.degree", "gcn.msg_norm.msg_scale": "conv.scale"}
"""Numbers of a block: shape (1,) there, () here."""

_PLAIN = {"max": "max", "mean": "mean", "sum": "add"}
_WITHOUT_DEGREE = ("softmax", "softmax-semigrad", "power")


class RevGNNLayout(Layout):
    """The names of RevGNN.

    The encoder of the species differs: the authors' code numbers them by the remainder of their taxonomy number modulo the
    largest, so the largest is the first. Ours numbers them in ascending order. The columns of that encoder's weight are moved.
    """

    data = "ogbn-proteins"
    run = RunConfig(model=ModelConfig(), evaluation=EvalConfig(parts=5), epochs=2000, parts=10)

    def fits(self, names: Sequence[str]) -> bool:
        return any(name.startswith("gcns.") for name in names)

    def read(self, tensors: Mapping[str, Tensor]) -> Reading:
        names = list(tensors)
        depth = len(numbered(r"gcns\.(\d+)\.", names, "layer"))
        groups = len(numbered(r"gcns\.0\._fn\.Fms\.(\d+)\.", names, "group"))
        first = {match[3]: tensors[name] for name in names if (match := _BLOCK.match(name)) and match[1] == match[2] == "0"}
        if not first:
            raise OfficialError("the checkpoint has no block gcns.0._fn.Fms.0, with which the authors' reversible network begins.")
        if {"gcn.t", "gcn.p"} <= first.keys():
            raise OfficialError(
                "a block of the checkpoint has both a temperature t and an exponent p; an aggregator has one of them."
            )
        features, edges = get(tensors, "node_features_encoder.weight", 2), get(tensors, "edge_encoder.weight", 2)
        get(first, "gcn.edge_encoder.weight", 2)
        get(first, "norm.weight", 1)
        species = get(tensors, "node_one_hot_encoder.weight", 2).shape[1] if "node_one_hot_encoder.weight" in tensors else 0
        linears = [
            int(match[1]) for name in first if (match := re.fullmatch(r"gcn\.mlp\.(\d+)\.weight", name)) and first[name].dim() == 2
        ]
        learns = "gcn.t" in first or "gcn.p" in first
        known: Settings = {
            "model.family": "reversible",
            "model.tied": False,
            "model.conv": "gen",
            "model.depth": depth,
            "model.channels": features.shape[0],
            "model.groups": groups,
            "model.norm": "batch" if "norm.running_mean" in first else "layer",
            "model.mlp_layers": len(linears),
            "model.message_norm": "gcn.msg_norm.msg_scale" in first,
            "model.edge_features": True,
            "model.learn_aggregation": learns,
        }
        ours = {_to_ours(name): _reshaped(name, tensor) for name, tensor in tensors.items()}
        shape = DataShape(features.shape[1] - species, get(tensors, "node_pred_linear.weight", 2).shape[0], edges.shape[1], species)
        return Reading(ours, known, _open(first, ours), shape)

    def also_open(self, settings: Settings) -> dict[str, Open]:
        aggregation: str = settings["model.aggregation"]
        if aggregation in _PLAIN or settings["model.learn_aggregation"]:
            return {}
        kind = "exponent p" if "power" in aggregation else "temperature t"
        return {"model.aggregation_init": Open(f"the {kind} is not learned, so it is not in the file (the authors' default is 1)")}

    def settings_of(self, args: Mapping[str, Any]) -> Settings:
        settings: Settings = {ours: args[theirs] for theirs, ours in _ARGUMENTS.items() if theirs in args}
        if "gcn_aggr" in args:
            learns_t = bool(args.get("learn_t"))
            names = {
                "add": "sum",
                "softmax": "softmax" if learns_t else "softmax-semigrad",
                "softmax_sg": "softmax-semigrad",
                "softmax_sum": "softmax-sum" if learns_t else "softmax-sum-semigrad",
                "power_sum": "power-sum",
            }
            aggregation = names.get(str(args["gcn_aggr"]), str(args["gcn_aggr"]))
            settings["model.aggregation"] = aggregation
            value = "p" if "power" in aggregation else "t"
            if value in args and aggregation not in _PLAIN:
                settings["model.aggregation_init"] = args[value]
        return settings

    def write(self, config: RunConfig, model: ModelConfig, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Settings]:
        conv = model.convolution
        if not isinstance(model, ReversibleConfig) or not isinstance(conv, GENConfig) or model.tied:
            raise OfficialError(
                "the authors' code has reversible networks of GEN and RevGAT, without weight tying; this run has "
                f"family={model.family}, conv={model.conv}, tied={model.tied}."
            )
        if model.norm == "none" or "edges.weight" not in tensors:
            what = "norm=none" if model.norm == "none" else "no edge features"
            raise OfficialError(f"the authors' blocks have a norm and use edge features; this run has {what}.")
        if "power" in conv.aggregation and not conv.clamp_power:
            raise OfficialError(
                "the authors' power mean clamps messages and mean to [1e-7, 10], and this run has clamp_power=false: their code "
                "would predict something else."
            )
        power = "power" in conv.aggregation
        theirs = {_to_theirs(name, power=power): _reshaped_back(name, tensor) for name, tensor in tensors.items()}
        order = ("gcns.", *_PARTS)
        theirs = dict(
            sorted(theirs.items(), key=lambda item: next(n for n, prefix in enumerate(order) if item[0].startswith(prefix)))
        )
        return theirs, _arguments(model, conv, tensors)


_ARGUMENTS = {
    "num_layers": "model.depth",
    "hidden_channels": "model.channels",
    "group": "model.groups",
    "norm": "model.norm",
    "mlp_layers": "model.mlp_layers",
    "dropout": "model.dropout",
    "msg_norm": "model.message_norm",
    "learn_msg_scale": "model.learn_message_scale",
    "y": "model.degree_init",
    "learn_y": "model.learn_degree",
}
"""Arguments of the authors' program that are settings of ours."""


def _open(first: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Open]:
    found: dict[str, Open] = {"model.dropout": Open("the rate of dropout is not in the file")}
    if "gcn.t" in first:
        choices = ("softmax-sum" if "gcn.y" in first else "softmax",)
    elif "gcn.p" in first:
        choices = ("power-sum" if "gcn.y" in first else "power",)
    else:
        choices = SCALED_BY_DEGREE if "gcn.y" in first else (*_PLAIN, *_WITHOUT_DEGREE)
    learned = "without a learned t or p" + (", but with y" if "gcn.y" in first else "")
    found["model.aggregation"] = Open(
        f"the file is {learned}, which is one of {', '.join(choices)} (the authors' softmax and softmax_sg are softmax-semigrad "
        "here, softmax_sum is softmax-sum-semigrad, add is sum)",
        choices,
        choices[0] if len(choices) == 1 else None,
    )
    if any("power" in choice for choice in choices):
        # ignored by other aggregations, see `run`
        found["model.clamp_power"] = Open("", default=True)
    # whether these are learned matters for further training only
    if "gcn.y" in first:
        degrees = [t for name, t in ours.items() if name.endswith("conv.degree")]
        found["model.learn_degree"] = Open("", default=any(not torch.equal(t, degrees[0]) for t in degrees))
    if "gcn.msg_norm.msg_scale" in first:
        scales = [t for name, t in ours.items() if name.endswith("conv.scale")]
        found["model.learn_message_scale"] = Open("", default=any(float(t) != 1.0 for t in scales))
    return found


def _to_ours(name: str) -> str:
    if match := _BLOCK.match(name):
        layer, group, tail = match.groups()
        ours = _NUMBERS.get(tail) or rename(tail, _PARTS_OF_BLOCK)
        if ours is not None:
            return f"stack.layers.{layer}.blocks.{group}.{ours}"
    ours = rename(name, _PARTS)
    if ours is None:
        raise unknown(name)
    return ours


def _to_theirs(name: str, *, power: bool) -> str:
    if match := _OUR_BLOCK.match(name):
        layer, group, tail = match.groups()
        numbers = {**reverse(_NUMBERS), "conv.learned": "gcn.p" if power else "gcn.t"}
        theirs = numbers.get(tail) or rename(tail, reverse(_PARTS_OF_BLOCK))
        assert theirs is not None, name
        return f"gcns.{layer}._fn.Fms.{group}.{theirs}"
    theirs = rename(name, reverse(_PARTS))
    assert theirs is not None, name
    return theirs


def _reshaped(name: str, tensor: Tensor) -> Tensor:
    if name == "node_one_hot_encoder.weight":
        return tensor.roll(-1, dims=1)
    match = _BLOCK.match(name)
    if match and match[3] in _NUMBERS:
        if tensor.numel() != 1:
            raise OfficialError(f"{name} must be one number, got shape {tuple(tensor.shape)}.")
        return tensor.reshape(())
    return tensor


def _reshaped_back(name: str, tensor: Tensor) -> Tensor:
    if name == "nodes.species.weight":
        return tensor.roll(1, dims=1)
    match = _OUR_BLOCK.match(name)
    return tensor.reshape(1) if match and match[3] in _NUMBERS.values() else tensor


def _arguments(model: ReversibleConfig, conv: GENConfig, tensors: Mapping[str, Tensor]) -> Settings:
    flat = model.flat()
    args = {theirs: flat[ours.removeprefix("model.")] for theirs, ours in _ARGUMENTS.items()}
    aggregation = conv.aggregation
    names = {**_PLAIN, "softmax-semigrad": "softmax_sg", "softmax-sum-semigrad": "softmax_sum"}
    power, learns = "power" in aggregation, conv.learn_aggregation and aggregation in LEARNS
    return {
        **args,
        "backbone": "rev",
        "gcn_aggr": names.get(aggregation, aggregation.replace("-", "_")),
        "t": 1.0 if power else conv.aggregation_init,
        "learn_t": learns and not power,
        "p": conv.aggregation_init if power else 1.0,
        "learn_p": learns and power,
        "conv_encode_edge": True,
        "use_one_hot_encoding": "nodes.species.weight" in tensors,
        "num_tasks": tensors["head.weight"].shape[0],
    }
