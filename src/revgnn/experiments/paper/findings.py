"""Sentences about a table, made from its figures by rule: nothing in them is chosen by hand, for better or worse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from revgnn.train.config import RunConfig

_FAMILIES = {"residual": "ResGNN", "reversible": "RevGNN", "equilibrium": "DEQ-GNN"}


@dataclass(frozen=True)
class Network:
    """A row's record, as `revgnn.experiments.paper.outcome` makes it, and the configuration it was trained with."""

    record: dict[str, Any]
    run: RunConfig

    @property
    def name(self) -> str:
        return self.record["network"]

    @property
    def test(self) -> float:
        return self.record["result"]["test"]["mean"]


def findings(rows: Sequence[Network]) -> list[str]:
    """What the finished rows say about depth, families and views; and how far that is to be trusted."""
    trained = [row for row in rows if row.record["result"] is not None and row.record["result"]["test"]["mean"] is not None]
    first: dict[str, Network] = {}
    for row in trained:
        first.setdefault(row.record["preset"], row)
    networks = list(first.values())
    sentences = [
        *(_of_depth(series) for series in _series(networks)),
        *(_of_families(rivals) for rivals in _rivals(networks)),
        *(_of_views(views) for views in _viewed(trained)),
    ]
    return [*sentences, _of_chance(networks)] if sentences else []


# --- depth --------------------------------------------------------------------------------------------------------------


def _series(networks: list[Network]) -> Iterable[list[Network]]:
    """Networks that differ in depth alone, from shallow to deep."""

    def but_for_depth(network: Network) -> dict[str, Any]:
        return {k: v for k, v in network.run.flat().items() if k not in ("preset", "model.depth")}

    candidates = [n for n in networks if n.run.model.family != "equilibrium"]
    seen: list[dict[str, Any]] = []
    for kind in map(but_for_depth, candidates):
        if kind not in seen:
            seen.append(kind)
            series = [n for n in candidates if but_for_depth(n) == kind]
            if len(series) > 1:
                yield sorted(series, key=lambda n: n.run.model.depth)


def _of_depth(series: list[Network]) -> str:
    depths = [n.run.model.depth for n in series]
    best, worst = max(series, key=lambda n: n.test), min(series, key=lambda n: n.test)
    said = (
        f"{_kind(series[0])}, by depth: of {_listed(depths)} layers, {best.run.model.depth} scored best ({best.test:.4f}) and "
        f"{worst.run.model.depth} worst ({worst.test:.4f}), a spread of {best.test - worst.test:.4f}."
    )
    if best is series[-1]:
        said += " The deepest network scored best."
    else:
        lost = best.test - series[-1].test
        said += (
            f" No network deeper than {best.run.model.depth} layers scored better: beyond that depth does not help here. "
            f"The deepest, of {depths[-1]}, is {lost:.4f} behind."
        )
    first, last = (n.record["result"]["peak_bytes"] for n in (series[0], series[-1]))
    return (
        f"{said} From {depths[0]} to {depths[-1]} layers the peak memory grew {last / max(first, 1):.1f} times, the layers "
        f"{depths[-1] / depths[0]:.1f} times."
    )


def _kind(network: Network) -> str:
    model = network.run.model
    family = _FAMILIES.get(model.family, model.family)
    groups = f" in {model.groups} groups" if model.groups > 1 else ""
    return f"{'WT-' if model.tied else ''}{family}, {model.channels} channels{groups}"


# --- families -----------------------------------------------------------------------------------------------------------


def _rivals(networks: list[Network]) -> Iterable[list[Network]]:
    """Networks of one width and depth and of several families, the best first; an equilibrium counts at the depth it unrolls to."""

    def size(network: Network) -> tuple[int, int]:
        return network.run.model.channels, network.run.model.depth

    for _, equals in groupby(sorted(networks, key=size), key=size):
        rivals = sorted(equals, key=lambda n: n.test, reverse=True)
        if len({(n.run.model.family, n.run.model.tied) for n in rivals}) > 1:
            yield rivals


def _of_families(rivals: list[Network]) -> str:
    model = rivals[0].run.model
    or_equilibrium = " (or an equilibrium)" if any(n.run.model.family == "equilibrium" for n in rivals) else ""

    def figures(network: Network) -> str:
        result = network.record["result"]
        return f"{network.name} {network.test:.4f} ({result['peak_bytes'] / 1e6:.1f} MB)"

    lean = min(rivals, key=lambda n: n.record["result"]["peak_bytes"])
    return (
        f"With {model.channels} channels and {model.depth} layers{or_equilibrium}, from the best score to the worst: "
        f"{_listed([figures(n) for n in rivals])}. The least memory is {lean.name}'s."
    )


# --- views --------------------------------------------------------------------------------------------------------------


def _viewed(trained: list[Network]) -> Iterable[list[Network]]:
    """The rows of each network that has several ways to be evaluated."""
    viewed = [row for row in trained if row.record["multi_view"] is not None]
    for preset in dict.fromkeys(row.record["preset"] for row in viewed):
        rows = [row for row in viewed if row.record["preset"] == preset]
        if len(rows) > 1:
            yield rows


def _of_views(rows: list[Network]) -> str:

    def score(row: Network) -> float:
        return row.record["multi_view"]["test"]["mean"]

    best, worst = max(rows, key=score), min(rows, key=score)
    said = (
        f"{rows[0].name}, by views and parts: {_cut(best)} scored best ({score(best):.4f}), {_cut(worst)} worst "
        f"({score(worst):.4f}), a spread of {score(best) - score(worst):.4f}."
    )
    gains = []
    for parts in sorted({row.record["parts"] for row in rows if row.record["parts"] > 1}):
        of_parts = sorted((row for row in rows if row.record["parts"] == parts), key=lambda row: row.record["views"])
        if len(of_parts) > 1:
            few, many = of_parts[0], of_parts[-1]
            views = f"{few.record['views']} to {many.record['views']} views"
            gains.append(f"{score(many) - score(few):+.4f} at {parts} parts ({views})")
    return f"{said} More views changed the score by {_listed(gains)}." if gains else said


def _cut(row: Network) -> str:
    views, parts = row.record["views"], row.record["parts"]
    if parts == 1:
        return "the whole graph"
    return f"{views} view{'s' if views > 1 else ''} of {parts} parts"


# --- chance -------------------------------------------------------------------------------------------------------------


def _of_chance(networks: list[Network]) -> str:
    deviations = [n.record["result"]["test"]["std"] for n in networks]
    known = [deviation for deviation in deviations if deviation is not None]
    if len(known) < len(deviations):
        return "Each network was trained with one seed: how much of a difference is chance cannot be told from these figures."
    return f"Over the seeds the scores of one network deviate by up to {max(known):.4f}; smaller differences say little."


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
