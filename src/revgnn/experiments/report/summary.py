"""Sentences about a trained table. Fixed rules make them from the figures; no sentence is chosen or worded by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from revgnn.train.config import RunConfig

_FAMILIES = {"residual": "ResGNN", "reversible": "RevGNN", "equilibrium": "DEQ-GNN"}


@dataclass(frozen=True)
class TrainedRow:
    """The record of a row, as `trained_table_record` makes it, and the configuration of its run."""

    record: dict[str, Any]
    run: RunConfig

    @property
    def network(self) -> str:
        """Name of the network."""
        return self.record["network"]

    @property
    def score(self) -> float:
        """Test score, mean over the seeds."""
        return self.record["result"]["test"]["mean"]

    @property
    def peak_bytes(self) -> int:
        """Peak memory of training."""
        return self.record["result"]["peak_bytes"]


def summarise(rows: Sequence[TrainedRow]) -> list[str]:
    """Return what the finished rows say about depth, families and views, and how much of it may be chance."""
    finished = [row for row in rows if row.record["result"] is not None and row.record["result"]["test"]["mean"] is not None]
    by_preset: dict[str, TrainedRow] = {}
    for row in finished:
        by_preset.setdefault(row.record["preset"], row)
    networks = list(by_preset.values())
    sentences = [
        *(_about_depth(series) for series in _depth_series(networks)),
        *(_about_families(rivals) for rivals in _rivals(networks)),
        *(_about_views(views) for views in _rows_by_views(finished)),
    ]
    return [*sentences, _about_chance(networks)] if sentences else []


# --- depth --------------------------------------------------------------------------------------------------------------


def _depth_series(networks: list[TrainedRow]) -> Iterable[list[TrainedRow]]:
    """Yield groups of networks that differ only in depth, each from shallow to deep."""

    def settings(network: TrainedRow) -> dict[str, Any]:
        return {k: v for k, v in network.run.flat().items() if k not in ("preset", "model.depth")}

    candidates = [n for n in networks if n.run.model.family != "equilibrium"]
    done: list[dict[str, Any]] = []
    for shared in map(settings, candidates):
        if shared not in done:
            done.append(shared)
            series = [n for n in candidates if settings(n) == shared]
            if len(series) > 1:
                yield sorted(series, key=lambda n: n.run.model.depth)


def _about_depth(series: list[TrainedRow]) -> str:
    depths = [n.run.model.depth for n in series]
    shallowest, deepest = series[0], series[-1]
    best, worst = max(series, key=lambda n: n.score), min(series, key=lambda n: n.score)
    text = (
        f"{_kind(shallowest)}, by depth: of {_listed(depths)} layers, {best.run.model.depth} scored best ({best.score:.4f}) and "
        f"{worst.run.model.depth} worst ({worst.score:.4f}), a spread of {best.score - worst.score:.4f}."
    )
    if best is deepest:
        text += " The deepest network scored best."
    else:
        text += (
            f" No network deeper than {best.run.model.depth} layers scored better: beyond that depth does not help here. "
            f"The deepest, of {depths[-1]}, is {best.score - deepest.score:.4f} behind."
        )
    return (
        f"{text} From {depths[0]} to {depths[-1]} layers the peak memory grew "
        f"{deepest.peak_bytes / max(shallowest.peak_bytes, 1):.1f} times, the layers {depths[-1] / depths[0]:.1f} times."
    )


def _kind(network: TrainedRow) -> str:
    model = network.run.model
    family = _FAMILIES.get(model.family, model.family)
    groups = f" in {model.groups} groups" if model.groups > 1 else ""
    return f"{'WT-' if model.tied else ''}{family}, {model.channels} channels{groups}"


# --- families -----------------------------------------------------------------------------------------------------------


def _rivals(networks: list[TrainedRow]) -> Iterable[list[TrainedRow]]:
    """Yield groups of networks with the same width and depth but different families, the best first.

    The depth of an equilibrium is the one that it has if it is unrolled.
    """

    def size(network: TrainedRow) -> tuple[int, int]:
        return network.run.model.channels, network.run.model.depth

    for _, same_size in groupby(sorted(networks, key=size), key=size):
        rivals = sorted(same_size, key=lambda n: n.score, reverse=True)
        if len({(n.run.model.family, n.run.model.tied) for n in rivals}) > 1:
            yield rivals


def _about_families(rivals: list[TrainedRow]) -> str:
    model = rivals[0].run.model
    or_equilibrium = " (or an equilibrium)" if any(n.run.model.family == "equilibrium" for n in rivals) else ""
    figures = [f"{n.network} {n.score:.4f} ({n.peak_bytes / 1e6:.1f} MB)" for n in rivals]
    least = min(rivals, key=lambda n: n.peak_bytes)
    return (
        f"With {model.channels} channels and {model.depth} layers{or_equilibrium}, from the best score to the worst: "
        f"{_listed(figures)}. The least memory is {least.network}'s."
    )


# --- views --------------------------------------------------------------------------------------------------------------


def _rows_by_views(finished: list[TrainedRow]) -> Iterable[list[TrainedRow]]:
    """Yield the rows of each network that is evaluated in several ways."""
    viewed = [row for row in finished if row.record["multi_view"] is not None]
    for preset in dict.fromkeys(row.record["preset"] for row in viewed):
        rows = [row for row in viewed if row.record["preset"] == preset]
        if len(rows) > 1:
            yield rows


def _about_views(rows: list[TrainedRow]) -> str:
    def score(row: TrainedRow) -> float:
        return row.record["multi_view"]["test"]["mean"]

    best, worst = max(rows, key=score), min(rows, key=score)
    text = (
        f"{rows[0].network}, by views and parts: {_views_of_parts(best)} scored best ({score(best):.4f}), "
        f"{_views_of_parts(worst)} worst ({score(worst):.4f}), a spread of {score(best) - score(worst):.4f}."
    )
    gains = []
    for parts in sorted({row.record["parts"] for row in rows if row.record["parts"] > 1}):
        by_views = sorted((row for row in rows if row.record["parts"] == parts), key=lambda row: row.record["views"])
        if len(by_views) > 1:
            fewest, most = by_views[0], by_views[-1]
            views = f"{fewest.record['views']} to {most.record['views']} views"
            gains.append(f"{score(most) - score(fewest):+.4f} at {parts} parts ({views})")
    return f"{text} More views changed the score by {_listed(gains)}." if gains else text


def _views_of_parts(row: TrainedRow) -> str:
    views, parts = row.record["views"], row.record["parts"]
    if parts == 1:
        return "the whole graph"
    return f"{views} view{'s' if views > 1 else ''} of {parts} parts"


# --- chance -------------------------------------------------------------------------------------------------------------


def _about_chance(networks: list[TrainedRow]) -> str:
    deviations = [n.record["result"]["test"]["std"] for n in networks]
    known = [deviation for deviation in deviations if deviation is not None]
    if len(known) < len(deviations):
        return "Each network was trained with one seed: how much of a difference is chance cannot be told from these figures."
    return f"Over the seeds the scores of one network deviate by up to {max(known):.4f}; smaller differences say little."


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
