"""`Choice`: what `--preset auto` chose for a graph, line by line with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from revgnn.experiments.auto import rules
from revgnn.experiments.auto.profile import GraphProfile
from revgnn.experiments.auto.rules import Decision
from revgnn.train.config import DataConfig, RunConfig

RULES = (
    rules.convolution,
    rules.norm,
    rules.depth,
    rules.width,
    rules.dropout,
    rules.scaling,
    rules.label_inputs,
    rules.learning_rate,
    rules.epochs,
)
"""Each decides one thing, and sets keys that no other sets."""


@dataclass(frozen=True)
class Choice:
    """The decisions for one graph.

    Attributes:
        profile: what is known of the graph.
        decisions: one for each of `RULES`.
    """

    profile: GraphProfile
    decisions: tuple[Decision, ...]

    @property
    def changes(self) -> Mapping[str, Any]:
        """The values by dotted key of `RunConfig`."""
        return {key: value for decision in self.decisions for key, value in decision.changes.items()}

    def lines(self) -> tuple[str, ...]:
        """Return ten lines: the graph, and what was chosen and why."""
        return (_summary(self.profile), *(f"{d.topic:<14} {d.what}: {d.why}" for d in self.decisions))

    def for_data(self, data: DataConfig | None) -> RunConfig:
        """Return the run on these data with these choices, and with their reasons as notes."""
        return RunConfig(data=data).replace({**self.changes, "preset": "auto", "notes": list(self.lines())})


def choose(profile: GraphProfile) -> Choice:
    """Return what fits a graph with these properties. The same profile gives the same choice."""
    return Choice(profile, tuple(rule(profile) for rule in RULES))


def _summary(p: GraphProfile) -> str:
    homophily = "not known from the training labels" if p.homophily is None else f"{p.homophily:.2f}"
    outputs = {"multiclass": f"{p.num_outputs} classes", "multilabel": f"{p.num_outputs} labels"}.get(p.task, p.task)
    reach = "" if p.eccentricity is None else f", about {p.eccentricity} across"
    edges = f" and {p.num_edge_features} on edges" if p.num_edge_features else ""
    return (
        f"{'graph':<14} {p.num_nodes:,} nodes of mean degree {p.mean_degree:.1f}{reach}; {p.num_features:,} features{edges} "
        f"({p.feature_kind}); {outputs}, {p.num_train:,} training nodes; homophily {homophily}"
    )
