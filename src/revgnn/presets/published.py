"""The models of the paper on ogbn-proteins (arXiv:2106.07476, tables 1 to 4), trained as the paper trains them."""

from __future__ import annotations

from typing import Literal

from revgnn.models.config import ModelConfig
from revgnn.presets.registry import preset
from revgnn.train.config import DataConfig, EvalConfig, RunConfig


def _proteins(
    *,
    channels: int,
    family: Literal["residual", "reversible"] = "reversible",
    depth: int = 112,
    tied: bool = False,
    dropout: float = 0.1,
) -> RunConfig:
    """2000 epochs of 10 random parts, Adam at 1e-3, max aggregation, layer norm, one dropout mask; validation on 5 parts."""
    groups = 2 if family == "reversible" else 1
    return RunConfig(
        data=DataConfig(name="ogbn-proteins"),
        model=ModelConfig(family=family, depth=depth, channels=channels, groups=groups, tied=tied, dropout=dropout),
        evaluation=EvalConfig(parts=5),
        epochs=2000,
        parts=10,
    )


@preset(parameters=2_374_456)
def resgnn_64() -> RunConfig:
    """ResGNN, 112 layers of 64 channels."""
    return _proteins(channels=64, family="residual")


@preset(parameters=28_380_536)
def resgnn_224() -> RunConfig:
    """ResGNN, 112 layers of 224 channels."""
    return _proteins(channels=224, family="residual")


@preset(parameters=51_256)
def wt_resgnn_64() -> RunConfig:
    """Weight-tied ResGNN, 112 layers of 64 channels."""
    return _proteins(channels=64, family="residual", tied=True)


@preset(parameters=537_336)
def wt_resgnn_224() -> RunConfig:
    """Weight-tied ResGNN, 112 layers of 224 channels."""
    return _proteins(channels=224, family="residual", tied=True)


@preset(parameters=1_457_080)
def revgnn_64() -> RunConfig:
    """RevGNN, 112 layers of 64 channels."""
    return _proteins(channels=64)


@preset(parameters=2_251_384)
def revgnn_80() -> RunConfig:
    """RevGNN, 112 layers of 80 channels."""
    return _proteins(channels=80)


@preset(parameters=17_141_560)
def revgnn_224() -> RunConfig:
    """RevGNN, 112 layers of 224 channels."""
    return _proteins(channels=224)


@preset(parameters=35_000)
def wt_revgnn_64() -> RunConfig:
    """Weight-tied RevGNN, 112 layers of 64 channels."""
    return _proteins(channels=64, tied=True)


@preset(parameters=51_384)
def wt_revgnn_80() -> RunConfig:
    """Weight-tied RevGNN, 112 layers of 80 channels."""
    return _proteins(channels=80, tied=True)


@preset(parameters=337_080)
def wt_revgnn_224() -> RunConfig:
    """Weight-tied RevGNN, 112 layers of 224 channels."""
    return _proteins(channels=224, tied=True)


@preset(parameters=20_031_384)
def revgnn_deep() -> RunConfig:
    """RevGNN-Deep, 1001 layers of 80 channels."""
    return _proteins(depth=1001, channels=80)


@preset(parameters=68_471_608)
def revgnn_wide() -> RunConfig:
    """RevGNN-Wide, 448 layers of 224 channels."""
    return _proteins(depth=448, channels=224, dropout=0.2)
