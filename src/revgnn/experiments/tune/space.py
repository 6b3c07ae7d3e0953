"""The networks that `revgnn tune` compares: what preset auto chose, and one change at a time of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from revgnn.models.config import ModelConfig
from revgnn.train.config import RunConfig

DEEPEST = 56
"""Layers of the deepest candidate."""


@dataclass(frozen=True)
class Candidate:
    """One network, or one way to train it.

    Attributes:
        name: what it changes, unique.
        changes: values by dotted key of `RunConfig`, on top of the run that is tuned.
    """

    name: str
    changes: Mapping[str, Any]


def candidates(config: RunConfig, *, has_edge_features: bool) -> tuple[Candidate, ...]:
    """Return the candidates for a run, the most promising first: itself, other depths, convolutions, widths, rates.

    Args:
        config: what preset auto chose, or any other run.
        has_edge_features: of the graph; they allow no self-loops.
    """
    model = config.model
    found = [Candidate("as chosen", {})]
    depths = (2 * model.depth, max(2, model.depth // 2), 4 * model.depth)
    found += [Candidate(f"{n} layers", {"model.depth": n}) for n in depths if n <= DEEPEST and not (model.tied and n % 2)]
    found += _convolutions(model, has_edge_features=has_edge_features)
    found += [
        Candidate(f"dropout {rate:g}", {"model.dropout": rate})
        for rate in (round(min(0.8, model.dropout + 0.2), 2), round(max(0.0, model.dropout - 0.2), 2))
    ]
    found.append(Candidate(f"{2 * model.channels} channels", {"model.channels": 2 * model.channels}))
    found.append(Candidate(f"learning rate {config.optim.lr / 3:.2g}", {"optim.lr": config.optim.lr / 3}))
    labels = 0.0 if config.label_inputs else 0.5
    found.append(Candidate("labels as inputs" if labels else "no labels as inputs", {"label_inputs": labels, "label_reuse": 0}))
    norm = "layer" if model.norm == "batch" else "batch"
    found.append(Candidate(f"{norm} norm", {"model.norm": norm}))
    return _distinct(config, found)


def _convolutions(model: ModelConfig, *, has_edge_features: bool) -> list[Candidate]:
    """Return the other convolutions. RevGAT has attention only."""
    if model.family == "revgat":
        return []
    loops = {} if has_edge_features else {"data.self_loops": True}
    plain = {"model.edge_dropout": 0.0, "model.attention_dropout": 0.0, "model.heads": 1}
    heads = next(heads for heads in (4, 2, 1) if model.block_channels % heads == 0)
    all_of_them = {
        "gcn": Candidate("GCN", {"model.conv": "gcn", **loops}),
        "sage": Candidate("SAGE, mean", {"model.conv": "sage", "model.aggregation": "mean"}),
        "gen": Candidate("GEN, max", {"model.conv": "gen", "model.aggregation": "max"}),
        "gat": Candidate(f"GAT, {heads} heads", {"model.conv": "gat", "model.heads": heads, **loops}),
    }
    reset = plain if model.conv == "gat" else {}
    return [Candidate(c.name, {**reset, **c.changes}) for conv, c in all_of_them.items() if conv != model.conv]


def _distinct(config: RunConfig, found: list[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates whose configurations differ, in their order."""
    kept: dict[str, Candidate] = {}
    for candidate in found:
        kept.setdefault(config.replace(candidate.changes).digest, candidate)
    return tuple(kept.values())
