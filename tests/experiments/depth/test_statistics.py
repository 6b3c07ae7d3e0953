"""Intervals and p-values against SciPy's, Holm's correction against its definition, and verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from revgnn.experiments.depth.statistics import Mean, holm
from revgnn.experiments.depth.verdict import differences, family_differences, family_verdicts, verdict

SEEDS: list[tuple[int | str, int]] = [(0, seed) for seed in range(8)]


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_means_are_those_of_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 0.7, n).tolist()
    mean, test = Mean.of(values), stats.ttest_rel(values, np.zeros(n))
    assert mean is not None
    interval = test.confidence_interval(0.95)
    assert (mean.low, mean.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert mean.p_value() == pytest.approx(test.pvalue, rel=1e-9)
    assert mean.std == pytest.approx(np.std(values, ddof=1))


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    means = [Mean.of(rng.normal(2.0, 3.0, 4).tolist()) for _ in range(2000)]
    share = np.mean([m.low <= 2.0 <= m.high for m in means if m is not None and m.low is not None and m.high is not None])
    assert abs(share - 0.95) < 4 * (0.05 * 0.95 / 2000) ** 0.5


def test_few_or_equal_values() -> None:
    assert Mean.of([]) is None
    one = Mean.of([0.5])
    assert one is not None
    assert (one.mean, one.low, one.p_value()) == (0.5, None, None)
    for value, p in ((0.25, 0.0), (0.0, 1.0)):
        equal = Mean.of([value] * 3)
        assert equal is not None
        assert (equal.low, equal.high, equal.p_value()) == (value, value, p)


def test_holm() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # the example of the method
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_holm_lets_few_true_hypotheses_pass() -> None:
    """Of 15 tests of true hypotheses, one or more is rejected in at most 5 of 100 studies."""
    rng = np.random.default_rng(1)
    rejected = [min(holm(rng.random(15).tolist())) < 0.05 for _ in range(2000)]
    assert np.mean(rejected) < 0.05 + 4 * (0.05 * 0.95 / 2000) ** 0.5


def scores(means: dict[int, float], noise: float = 0.001, shared: float = 0.05) -> dict[int, dict[tuple[int | str, int], float]]:
    """Return scores whose splits differ much, and whose depths differ by exactly their means, with noise from run to run."""
    rng = np.random.default_rng(0)
    level, own = rng.normal(0, shared, len(SEEDS)), rng.normal(0, noise, (len(means), len(SEEDS)))
    own -= own.mean(axis=1, keepdims=True)
    return {
        depth: dict(zip(SEEDS, (mean + level + noises).tolist(), strict=True))
        for (depth, mean), noises in zip(means.items(), own, strict=True)
    }


def test_differences_are_paired() -> None:
    """What runs of one split have in common does not widen the interval, and only common runs count."""
    table = scores({3: 0.7, 7: 0.71})
    (found,) = differences(table, larger_is_better=True)
    test = stats.ttest_rel([table[7][key] for key in SEEDS], [table[3][key] for key in SEEDS])
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, test.pvalue), rel=1e-9)
    assert found.p_holm == found.p
    assert found.high is not None
    assert found.low is not None
    assert found.high - found.low < 0.01
    table[7].pop((0, 3))
    assert differences(table, larger_is_better=True)[0].pairs == 7
    (worse,) = differences(table, larger_is_better=False)
    assert worse.gain == -differences(table, larger_is_better=True)[0].gain


def test_p_values_are_corrected_over_the_deeper_depths() -> None:
    found = differences(scores({3: 0.700, 7: 0.7005, 14: 0.701, 28: 0.7012}), larger_is_better=True)
    for shallow in (3, 7, 14):
        mine = [d for d in found if d.shallow == shallow]
        assert [d.p_holm for d in mine] == holm([d.p for d in mine if d.p is not None])


def test_no_depth_is_passed_over_in_error() -> None:
    """Where all depths are equally good, the first is named in at least 95 of 100 studies."""
    rng = np.random.default_rng(3)
    passed = 0
    for _ in range(400):
        table = {depth: dict(zip(SEEDS, rng.normal(0.8, 0.01, len(SEEDS)).tolist(), strict=True)) for depth in (3, 7, 14, 28, 56)}
        passed += not verdict(differences(table, larger_is_better=True)).startswith("Beyond 3 layers")
    assert passed / 400 < 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5


def test_a_gain_that_correction_does_not_leave() -> None:
    table = scores({3: 0.70, 7: 0.70, 14: 0.7010, 28: 0.70, 56: 0.70, 112: 0.70})
    gain = next(d for d in differences(table, larger_is_better=True) if (d.shallow, d.deep) == (3, 14))
    text = verdict(differences(table, larger_is_better=True))
    assert gain.low is not None
    assert gain.low > 0
    assert not gain.is_gain
    assert text.startswith("Beyond 3 layers no gain is shown here: 14 layers +0.0010")
    assert "more seeds would tell" in text


@pytest.mark.parametrize(
    ("means", "begins", "has"),
    [
        ({3: 0.70, 7: 0.75, 14: 0.80}, "Each step up to 14 layers gains: +0.1000", "the deepest here"),
        ({3: 0.70, 7: 0.75, 14: 0.75, 28: 0.75}, "Beyond 7 layers no gain is shown here", "Up to 7 layers depth gains: +0.0500"),
        ({3: 0.70, 7: 0.70}, "Beyond 3 layers no gain is shown here: 7 layers ", "0.0000, interval -0.00"),
        ({3: 0.70, 7: 0.65, 14: 0.60}, "Beyond 3 layers every depth loses here: 7 layers -0.0500", "interval"),
        ({3: 0.70, 7: 0.70, 14: 0.60}, "Beyond 3 layers no gain is shown here: 7 layers", "14 layers lose, -0.1000"),
    ],
)
def test_verdicts(means: dict[int, float], begins: str, has: str) -> None:
    text = verdict(differences(scores(means), larger_is_better=True))
    assert text.startswith(begins), text
    assert has in text
    assert text.endswith(".")


def test_too_few_runs_have_no_verdict() -> None:
    one: dict[int, dict[tuple[int | str, int], float]] = {depth: {(0, 0): 0.5 + depth} for depth in (1, 2)}
    (found,) = differences(one, larger_is_better=True)
    assert (found.gain, found.low, found.p_holm) == (1.0, None, None)
    assert verdict([found]).startswith("Depths cannot be compared yet")
    assert verdict([]).startswith("Depths cannot be compared yet")


def test_families_are_compared_with_the_first_at_equal_depth() -> None:
    # the depth that the first does not have gives the others noise of their own
    table = {"reversible": scores({7: 0.80, 14: 0.80}), "tied": scores({3: 0.5, 7: 0.70})}
    table["residual"] = scores({3: 0.5, 7: 0.8001, 14: 0.90, 28: 0.9})
    found = family_differences(table, larger_is_better=True)
    assert [(d.depth, d.family, d.first) for d in found] == [
        (7, "tied", "reversible"),
        (7, "residual", "reversible"),
        (14, "residual", "reversible"),
    ]
    expected = stats.ttest_rel([*table["tied"][7].values()], [*table["reversible"][7].values()])
    assert found[0].p == pytest.approx(expected.pvalue)
    assert found[0].is_loss
    assert found[2].p_holm == found[2].p  # alone at its depth
    assert [-d.gain for d in family_differences(table, larger_is_better=False)] == [d.gain for d in found]
    texts = family_verdicts(found)
    assert texts[7].startswith("7 layers, beside reversible: residual +0.0001")
    assert texts[7].index("none shown after correction") < texts[7].index("tied -0.1000") < len(texts[7]) - 1
    assert family_differences({"reversible": scores({7: 0.8})}, larger_is_better=True) == []
    assert family_differences({}, larger_is_better=True) == []
