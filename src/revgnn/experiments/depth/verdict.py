"""Paired differences between depths and between families, and what follows from them in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, pairwise
from typing import Any, TypeVar

from revgnn.experiments.depth.statistics import LEVEL, Mean, holm

Scores = Mapping[int, Mapping[tuple[int | str, int], float]]
"""Score by depth, then by split and seed."""

ALPHA = 1 - LEVEL

FEW = 3
"""Fewer pairs of runs than this show next to nothing."""


@dataclass(frozen=True)
class Gain:
    """What one network gains over another, over runs of the same split and seed.

    Attributes:
        gain: the mean of the differences; positive if the one network is better, also where a small score is good.
        low, high: the ends of its t interval, not corrected; None for fewer than two pairs.
        pairs: how many.
        p: p-value of the paired t test; None for fewer than two pairs.
        p_holm: likewise, corrected for all that are compared with the same network (Holm).
    """

    gain: float
    low: float | None
    high: float | None
    pairs: int
    p: float | None
    p_holm: float | None = field(default=None, kw_only=True)

    @property
    def is_gain(self) -> bool:
        return self.p_holm is not None and self.p_holm < ALPHA and self.gain > 0

    @property
    def is_loss(self) -> bool:
        return self.p_holm is not None and self.p_holm < ALPHA and self.gain < 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Difference(Gain):
    """What a depth gains over a shallower one; `shallow` and `deep` are layers."""

    shallow: int
    deep: int


@dataclass(frozen=True)
class FamilyDifference(Gain):
    """What a family gains over the first one of a study, with as many layers."""

    family: str
    first: str
    depth: int


G = TypeVar("G", bound=Gain)


def differences(scores: Scores, *, larger_is_better: bool) -> list[Difference]:
    """Return the difference of every two depths that have a split and seed in common, by depth."""
    found = []
    for shallow in sorted(scores):
        pairs = ((deep, _gains(scores[deep], scores[shallow], larger_is_better)) for deep in sorted(scores) if deep > shallow)
        found += _corrected([Difference(*gain, shallow, deep) for deep, gain in pairs if gain is not None])
    return found


def family_differences(scores: Mapping[str, Scores], *, larger_is_better: bool) -> list[FamilyDifference]:
    """Return the difference of every family from the first one, at each depth at which both have a split and seed in common."""
    first, *others = scores or {"": {}}
    found = []
    for depth in sorted({depth for each in scores.values() for depth in each}):
        own = scores[first].get(depth, {})
        pairs = ((family, _gains(scores[family].get(depth, {}), own, larger_is_better)) for family in others)
        found += _corrected([FamilyDifference(*gain, family, first, depth) for family, gain in pairs if gain is not None])
    return found


def between_families(cells: Sequence[Mapping[str, Any]], part: str, *, larger_is_better: bool) -> list[FamilyDifference]:
    """Return what each family gains over the first one, from the `cells` of a study.

    Args:
        part: the scores that are compared, "test" or "valid".
    """
    scores = {family: scores_of(family, cells, part) for family in dict.fromkeys(cell["family"] for cell in cells)}
    return family_differences(scores, larger_is_better=larger_is_better)


def scores_of(family: str, cells: Sequence[Mapping[str, Any]], part: str) -> Scores:
    """Return the scores of a family, from the `cells` of a study."""
    return {
        cell["depth"]: {(run["split"], run["seed"]): run[part] for run in cell["runs"]}
        for cell in cells
        if cell["family"] == family and cell["runs"]
    }


def _gains(
    scores: Mapping[Any, float], others: Mapping[Any, float], larger_is_better: bool
) -> tuple[float, float | None, float | None, int, float | None] | None:
    """Return the fields of what scores gain over others of the same key; None if they have no key in common."""
    sign = 1 if larger_is_better else -1
    mean = Mean.of([sign * (scores[key] - others[key]) for key in others if key in scores])
    return None if mean is None else (mean.mean, mean.low, mean.high, mean.n, mean.p_value())


def _corrected(found: Sequence[G]) -> list[G]:
    """Return comparisons with the same network, with p-values that hold for all of them together."""
    adjusted = iter(holm([d.p for d in found if d.p is not None]))
    return [d if d.p is None else replace(d, p_holm=next(adjusted)) for d in found]


def verdict(found: Sequence[Difference]) -> str:
    """Return in a sentence up to which depth a network gains.

    That depth is the least which no deeper one beats by a difference that Holm's correction leaves. Depths are tested in ascending
    order, up to the first that is not beaten. So with probability `LEVEL` or more no depth is passed over in error.
    """
    tested = [d for d in found if d.p_holm is not None]
    if not tested:
        return "Depths cannot be compared yet: each needs two runs or more, of other seeds or splits."
    depths = sorted({depth for d in tested for depth in (d.shallow, d.deep)})
    best = next(depth for depth in depths if not any(d.is_gain for d in tested if d.shallow == depth))
    gains = [d for d in tested if d.deep == best and d.is_gain]
    before = _gain_until(best, depths, tested) if gains else ""
    beyond = [d for d in tested if d.shallow == best]
    if not beyond:
        return f"{before or f'Nothing is shown for {layers(best)}'}, the deepest here."
    most = max(beyond, key=lambda d: d.gain)
    text = f"Beyond {layers(best)} no gain is shown here: {layers(most.deep)} {numbers(most)}"
    losses = [d for d in beyond if d.is_loss and d is not most]
    if most.is_loss:
        text = f"Beyond {layers(best)} every depth loses here: {layers(most.deep)} {numbers(most)}"
    elif losses:
        worst = min(losses, key=lambda d: d.gain)
        text += f"; {layers(worst.deep)} lose, {numbers(worst)}"
    elif most.low is not None and most.low > 0:
        text += f", a gain by itself but not among {len(beyond)} depths (corrected p {most.p_holm:.2f}): more seeds would tell"
    elif most.pairs < FEW:
        text += f" (of {most.pairs} pairs of runs, which can show little)"
    return f"{text}. {before}." if before else f"{text}."


def family_verdicts(found: Sequence[FamilyDifference]) -> dict[int, str]:
    """Return by depth in a sentence what the families gain over the first one, from the best to the worst."""
    texts = {}
    for depth, each in groupby(found, key=lambda d: d.depth):
        ordered = sorted(each, key=lambda d: -d.gain)
        parts = [f"{d.family} {numbers(d)}" + ("" if d.is_gain or d.is_loss else " (none shown after correction)") for d in ordered]
        texts[depth] = f"{layers(depth)}, beside {ordered[0].first}: {'; '.join(parts)}."
    return texts


def _gain_until(best: int, depths: Sequence[int], tested: Sequence[Difference]) -> str:
    """Return how much is gained up to the best depth, and whether each step gains."""
    up_to = [depth for depth in depths if depth <= best]
    steps = [d for d in tested if (d.shallow, d.deep) in set(pairwise(up_to))]
    total = next(d for d in tested if d.deep == best and d.is_gain)  # the first: over the shallowest that it beats
    each = len(steps) > 1 and all(step.is_gain for step in steps)
    start = f"Each step up to {layers(best)} gains" if each else f"Up to {layers(best)} depth gains"
    return f"{start}: {numbers(total)} over {layers(total.shallow)}"


def layers(depth: int) -> str:
    return f"{depth} layer{'' if depth == 1 else 's'}"


def numbers(d: Gain) -> str:
    """Return a difference with its interval: "+0.0010, interval -0.0030 to 0.0050"."""
    text = f"{d.gain:+.4f}"
    return text if d.low is None or d.high is None else f"{text}, interval {d.low:.4f} to {d.high:.4f}"
