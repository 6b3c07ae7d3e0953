"""RevGAT on ogbn-arxiv: `examples/ogb_eff/ogbn_arxiv_dgl/model_rev.py` of the authors' code.

Their program saves predictions and no weights, so there is no file of theirs to compare with. The names are those of that source:
what `model.state_dict()` returns there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from revgnn.interop.official.file import OfficialError
from revgnn.interop.official.layout import Layout, Open, Reading, Settings, get, numbered, rename, reverse, unknown
from revgnn.models import ModelConfig, RevGATConfig
from revgnn.models.layers import DataShape
from revgnn.train.config import DataConfig, RunConfig

_BLOCK = re.compile(r"convs\.(\d+)\._fn\.Fms\.(\d+)\.(.+)")
_OUR_BLOCK = re.compile(r"stack\.layers\.(\d+)\.blocks\.(\d+)\.(.+)")
_CONV = {"fc.weight": "lin.weight", "attn_l": "att_src", "attn_r": "att_dst", "res_fc.weight": "res.weight"}
_TRAINING_ONLY = "it matters for training only, and is not in the file"


class RevGATLayout(Layout):
    """The names of RevGAT. The first and the last of its layers are single attentions."""

    data = "ogbn-arxiv"
    run = RunConfig(
        data=DataConfig(name="ogbn-arxiv", undirected=True, self_loops=True),
        model=ModelConfig(family="revgat"),
        loss="log",
        epochs=2000,
    )

    def fits(self, names: Sequence[str]) -> bool:
        return "bias_last.bias" in names and any(name.startswith("convs.") for name in names)

    def read(self, tensors: Mapping[str, Tensor]) -> Reading:
        names = list(tensors)
        layers = numbered(r"convs\.(\d+)\.", names, "layer")
        inner = numbered(r"convs\.(\d+)\._fn\.Fms\.", names, "reversible layer")
        depth = len(layers)
        if depth < 2 or inner != list(range(1, depth - 1)):
            raise OfficialError(
                "the authors' network has single attentions first and last, and reversible layers between them; the checkpoint "
                f"has {depth} layers, of which {inner or 'none'} are reversible."
            )
        fc, vectors = get(tensors, "convs.0.fc.weight", 2), get(tensors, "convs.0.attn_l", 3)
        get(tensors, "convs.0.res_fc.weight", 2)
        known: Settings = {
            "model.family": "revgat",
            "model.depth": depth,
            "model.channels": fc.shape[0],
            "model.heads": vectors.shape[1],
            "model.destination": "convs.0.attn_r" in tensors,
            "model.norm": "batch",
            "model.residual_map": True,
        }
        if inner:
            known["model.groups"] = len(numbered(r"convs\.1\._fn\.Fms\.(\d+)\.", names, "group"))
        settings = {
            "model.symmetric": Open("whether attention is normalised by degrees (the authors' --use-norm) has no parameter"),
            "model.dropout": Open(f"the rate of dropout: {_TRAINING_ONLY}"),
            "model.input_dropout": Open(f"the rate of dropout of the features: {_TRAINING_ONLY}"),
            "model.edge_dropout": Open(f"the rate of edge dropout: {_TRAINING_ONLY}"),
            "label_inputs": Open(
                f"whether {fc.shape[1]} input features include labels, and the share of them in training (0: none)"
            ),
            "label_reuse": Open("how often predictions are used again as labels"),
        }
        ours = {_to_ours(name, depth): tensor for name, tensor in tensors.items()}
        return Reading(ours, known, settings, DataShape(fc.shape[1], get(tensors, "bias_last.bias", 1).shape[0], 0, 0))

    def also_open(self, settings: Settings) -> dict[str, Open]:
        return {}

    def settings_of(self, args: Mapping[str, Any]) -> Settings:
        settings: Settings = {ours: args[theirs] for theirs, ours in _ARGUMENTS.items() if theirs in args}
        if {"n_hidden", "n_heads"} <= args.keys():
            settings["model.channels"] = args["n_hidden"] * args["n_heads"]
        if "no_attn_dst" in args:
            settings["model.destination"] = not args["no_attn_dst"]
        if "use_labels" in args:
            settings["label_inputs"] = args.get("mask_rate", 0.5) if args["use_labels"] else 0.0
            settings["label_reuse"] = args.get("n_label_iters", 0) if args["use_labels"] else 0
        return settings

    def write(self, config: RunConfig, model: ModelConfig, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Settings]:
        if not isinstance(model, RevGATConfig) or model.groups < 2 or model.norm != "batch" or not model.convolution.residual_map:
            raise OfficialError(
                "the authors' RevGAT has 2 or more groups, batch norm and residual maps; this run has "
                f"groups={model.groups}, norm={model.norm}, residual_map={model.flat()['residual_map']}."
            )
        theirs = {_to_theirs(name, model.depth): tensor for name, tensor in tensors.items()}
        order = [*(f"convs.{n}." for n in range(model.depth)), "norm.", "bias_last."]
        flat = {key: value for key, value in config.flat().items() if key in _ARGUMENTS.values()}
        args = {theirs: flat[ours] for theirs, ours in _ARGUMENTS.items()}
        args |= {
            "backbone": "rev",
            "n_hidden": model.channels // model.convolution.heads,
            "no_attn_dst": not model.convolution.destination,
            "use_labels": config.label_inputs > 0,
            "mask_rate": config.label_inputs,
            "n_label_iters": config.label_reuse,
        }
        sort = sorted(theirs.items(), key=lambda item: next(n for n, prefix in enumerate(order) if item[0].startswith(prefix)))
        return dict(sort), args


_ARGUMENTS = {
    "n_layers": "model.depth",
    "n_heads": "model.heads",
    "group": "model.groups",
    "use_norm": "model.symmetric",
    "dropout": "model.dropout",
    "input_drop": "model.input_dropout",
    "attn_drop": "model.attention_dropout",
    "edge_drop": "model.edge_dropout",
}
"""Arguments of the authors' program that are settings of ours."""


def _to_ours(name: str, depth: int) -> str:
    if match := _BLOCK.match(name):
        layer, group, tail = match.groups()
        ours = (
            f"conv.{_CONV[tail.removeprefix('conv.')]}" if tail.removeprefix("conv.") in _CONV else rename(tail, {"norm.": "norm."})
        )
        if ours is not None:
            return f"stack.layers.{int(layer) - 1}.blocks.{group}.{ours}"
    for prefix, ours in (("convs.0.", "first."), (f"convs.{depth - 1}.", "last.")):
        if name.startswith(prefix) and name.removeprefix(prefix) in _CONV:
            return ours + _CONV[name.removeprefix(prefix)]
    if name == "bias_last.bias":
        return "last.bias"
    if name.startswith("norm."):
        return name
    raise unknown(name)


def _to_theirs(name: str, depth: int) -> str:
    conv = reverse(_CONV)
    if match := _OUR_BLOCK.match(name):
        layer, group, tail = match.groups()
        theirs = f"conv.{conv[tail.removeprefix('conv.')]}" if tail.startswith("conv.") else tail
        return f"convs.{int(layer) + 1}._fn.Fms.{group}.{theirs}"
    if name == "last.bias":
        return "bias_last.bias"
    for ours, prefix in (("first.", "convs.0."), ("last.", f"convs.{depth - 1}.")):
        if name.startswith(ours):
            return prefix + conv[name.removeprefix(ours)]
    return name
