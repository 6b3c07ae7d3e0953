"""Paired differences between depths, and what follows from them in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from typing import Any

from revgnn.experiments.depth.statistics import LEVEL, Mean, holm

Scores = Mapping[int, Mapping[tuple[int | str, int], float]]
"""Score by depth, then by split and seed."""

ALPHA = 1 - LEVEL

FEW = 3
"""Fewer pairs of runs than this show next to nothing."""


@dataclass(frozen=True)
class Difference:
    """What a depth gains over a shallower one, over runs of the same split and seed.

    Attributes:
        shallow, deep: layers.
        gain: the mean of the differences; positive if the deeper network is better, also where a small score is good.
        low, high: the ends of its t interval, not corrected; None for fewer than two pairs.
        pairs: how many.
        p: p-value of the paired t test; None for fewer than two pairs.
        p_holm: likewise, corrected for all depths that are compared with the shallower one (Holm).
    """

    shallow: int
    deep: int
    gain: float
    low: float | None
    high: float | None
    pairs: int
    p: float | None
    p_holm: float | None = None

    @property
    def is_gain(self) -> bool:
        return self.p_holm is not None and self.p_holm < ALPHA and self.gain > 0

    @property
    def is_loss(self) -> bool:
        return self.p_holm is not None and self.p_holm < ALPHA and self.gain < 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def differences(scores: Scores, *, larger_is_better: bool) -> list[Difference]:
    """Return the difference of every two depths that have a split and seed in common, by depth."""
    sign, found = 1 if larger_is_better else -1, []
    for shallow, deep in combinations(sorted(scores), 2):
        common = [key for key in scores[shallow] if key in scores[deep]]
        mean = Mean.of([sign * (scores[deep][key] - scores[shallow][key]) for key in common])
        if mean is not None:
            found.append(Difference(shallow, deep, mean.mean, mean.low, mean.high, mean.n, mean.p_value()))
    for shallow in sorted(scores):
        tested = [i for i, d in enumerate(found) if d.shallow == shallow and d.p is not None]
        for i, adjusted in zip(tested, holm([p for j in tested if (p := found[j].p) is not None]), strict=True):
            found[i] = replace(found[i], p_holm=adjusted)
    return found


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


def numbers(d: Difference) -> str:
    """Return a difference with its interval: "+0.0010, interval -0.0030 to 0.0050"."""
    text = f"{d.gain:+.4f}"
    return text if d.low is None or d.high is None else f"{text}, interval {d.low:.4f} to {d.high:.4f}"
