"""Published figures: as printed, and as numbers."""

from __future__ import annotations

import pytest

from revgnn.experiments.figures import Figure, Source, published

HERE = Source("the tests")


@pytest.mark.parametrize(
    ("name", "printed", "value"),
    [
        ("score", "85.97", 0.8597),
        ("score_std", "0.16", 0.0016),
        ("parameters", "490k", 490_000),
        ("parameters", "17.1M", 17_100_000),
        ("parameters", "2,098,256", 2_098_256),
        ("memory_gb", "7.30", 7.3),
        ("memory_gb", "5.22 G", 5.22),
        ("memory_gb", "OOM", None),
        ("out_of_memory_gb", "32GB", 32),
        ("layers", "1000", 1000),
        ("pearson", "0.8948", 0.8948),
        ("memory_ratio", "2.5X", 2.5),
        ("parameters_less", "more than 30%", 0.3),
        ("train_days", "1.3 days vs. 2 days", None),
    ],
)
def test_a_figure_as_a_number(name: str, printed: str, value: float | None) -> None:
    assert Figure(name, printed, HERE).value == value


def test_figures_of_one_source() -> None:
    figures = published("the tests", "a row", second_hand=True, score="87.29 ± 0.16", memory_gb="-", parameters=None)
    assert [(f.name, f.printed) for f in figures.figures] == [("score", "87.29"), ("score_std", "0.16")]
    assert {f.source for f in figures.figures} == {Source("the tests", "a row", second_hand=True)}
    assert (figures.score, figures.score_std, figures.memory_gb, figures.parameters) == (0.8729, 0.0016, None, None)
    both = figures | published("elsewhere", parameters="1.46M")
    assert (both.parameters, both.second_hand) == ("1.46M", ("score", "score_std"))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"a figure is one of parameters, .*; got scores"):
        published("the tests", scores="1")
    with pytest.raises(ValueError, match="each figure once, got score, score"):
        published("the tests", score="1") | published("elsewhere", score="1")
