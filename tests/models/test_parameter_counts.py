"""The published networks have exactly the published number of parameters."""

from __future__ import annotations

import pytest

from revgnn.models import ModelConfig, build_model, num_parameters

REVERSIBLE_224 = {
    2: {3: 489_848, 7: 1_100_920, 14: 2_170_296, 28: 4_309_048, 56: 8_586_552, 112: 17_141_560},
    4: {3: 339_320, 7: 749_688, 14: 1_467_832, 28: 2_904_120, 56: 5_776_696, 112: 11_521_848},
}


def block(D: int, c: int) -> int:
    """B(c): norm, edge linear, and the two linear layers of the MLP with the norm between."""
    return 2 * c + (D * c + c) + (2 * c * c + 2 * c) + 4 * c + (2 * c * c + c)


def rest(D: int) -> int:
    """R: node and edge encoders, head, last norm, species map."""
    return 17 * D + 9 * D + 112 * D + 112 + 2 * D + 72


def count(**kwargs) -> int:
    return num_parameters(build_model(ModelConfig(**kwargs), in_channels=8, out_channels=112, num_edge_features=8, num_species=8))


@pytest.mark.parametrize(("channels", "published"), [(64, 2_374_456), (224, 28_380_536)])
def test_resgnn(channels: int, published: int) -> None:
    assert (
        count(family="residual", depth=112, channels=channels)
        == published
        == 112 * block(channels, channels) + rest(channels) - 2 * channels
    )


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("depth", [3, 7, 14, 28, 56, 112])
def test_revgnn_224(groups: int, depth: int) -> None:
    published = REVERSIBLE_224[groups][depth]
    assert count(depth=depth, channels=224, groups=groups) == published == depth * groups * block(224, 224 // groups) + rest(224)


@pytest.mark.parametrize(
    ("depth", "channels", "published"),
    [(112, 64, 1_457_080), (112, 80, 2_251_384), (1001, 80, 20_031_384), (448, 224, 68_471_608)],
    ids=["RevGNN-64", "RevGNN-80", "RevGNN-Deep", "RevGNN-Wide"],
)
def test_revgnn(depth: int, channels: int, published: int) -> None:
    assert count(depth=depth, channels=channels) == published


@pytest.mark.parametrize("unit", ["pair", "single"])
@pytest.mark.parametrize(("channels", "published"), [(64, 35_000), (80, 51_384), (224, 337_080)])
def test_weight_tied_revgnn(unit: str, channels: int, published: int) -> None:
    assert count(depth=112, channels=channels, tied=True, unit=unit) == published


@pytest.mark.parametrize("unit", ["pair", "single"])
@pytest.mark.parametrize(("channels", "published"), [(64, 51_256), (224, 537_336)])
def test_weight_tied_resgnn(unit: str, channels: int, published: int) -> None:
    assert count(family="residual", depth=112, channels=channels, tied=True, unit=unit) == published
