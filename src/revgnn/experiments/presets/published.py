"""The models of the paper on ogbn-proteins (arXiv:2106.07476 and its supplement), trained as the paper trains them.

`revgnn paper` lists the published tables and which of these presets is which row. Three things the paper does not say:

- what exactly a weight-tied network repeats: the code was never published, and the published counts of parameters fit a unit of
  two layers repeated 56 times as well as one layer after a first one of its own; here it is the former (`model.unit: pair`);
- how often its checkpointed ResGNN stores a state; `resgnn-64-checkpoint` does so every 4 layers, where memory is least: what a
  layer keeps for its gradient is some 8 times its state, so that sqrt(depth) layers between two states are too many. The other
  residual networks are trained with checkpoints too, every sqrt(depth) layers, unless `model.gradient` is `backprop`, which stores
  every layer, as the paper does for them. Value and gradients are the same;
- how an equilibrium is solved for: `model.solver` is left at our defaults (see `revgnn.models.SolverConfig`), and there is no
  weight-tied training before it.
"""

from __future__ import annotations

from revgnn.experiments.presets.registry import preset
from revgnn.models.config import Family, Gradient, ModelConfig
from revgnn.train.config import DataConfig, EvalConfig, RunConfig


def _proteins(
    *,
    channels: int,
    family: Family = "reversible",
    depth: int = 112,
    groups: int = 2,
    tied: bool = False,
    dropout: float = 0.1,
    gradient: Gradient | None = None,
    checkpoint_every: int | None = None,
) -> RunConfig:
    """2000 epochs of 10 random parts, Adam at 1e-3, max aggregation, layer norm, one dropout mask; validation on 5 parts."""
    return RunConfig(
        data=DataConfig(name="ogbn-proteins"),
        model=ModelConfig(
            family=family,
            depth=depth,
            channels=channels,
            groups=groups if family == "reversible" else 1,
            tied=tied,
            dropout=dropout,
            gradient=gradient,
            checkpoint_every=checkpoint_every,
        ),
        evaluation=EvalConfig(parts=5),
        epochs=2000,
        parts=10,
    )


@preset(parameters=2_374_456)
def resgnn_64() -> RunConfig:
    """ResGNN, 112 layers of 64 channels."""
    return _proteins(channels=64, family="residual")


@preset(parameters=2_374_456)
def resgnn_64_checkpoint() -> RunConfig:
    """ResGNN, 112 layers of 64 channels, with gradient checkpointing every 4 layers."""
    return _proteins(channels=64, family="residual", gradient="checkpoint", checkpoint_every=4)


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


@preset(parameters=489_848)
def revgnn_224_depth_3() -> RunConfig:
    """RevGNN, 3 layers of 224 channels in 2 groups."""
    return _proteins(depth=3, channels=224)


@preset(parameters=1_100_920)
def revgnn_224_depth_7() -> RunConfig:
    """RevGNN, 7 layers of 224 channels in 2 groups."""
    return _proteins(depth=7, channels=224)


@preset(parameters=2_170_296)
def revgnn_224_depth_14() -> RunConfig:
    """RevGNN, 14 layers of 224 channels in 2 groups."""
    return _proteins(depth=14, channels=224)


@preset(parameters=4_309_048)
def revgnn_224_depth_28() -> RunConfig:
    """RevGNN, 28 layers of 224 channels in 2 groups."""
    return _proteins(depth=28, channels=224)


@preset(parameters=8_586_552)
def revgnn_224_depth_56() -> RunConfig:
    """RevGNN, 56 layers of 224 channels in 2 groups."""
    return _proteins(depth=56, channels=224)


@preset(parameters=339_320)
def revgnn_224_groups_4_depth_3() -> RunConfig:
    """RevGNN, 3 layers of 224 channels in 4 groups."""
    return _proteins(depth=3, channels=224, groups=4)


@preset(parameters=749_688)
def revgnn_224_groups_4_depth_7() -> RunConfig:
    """RevGNN, 7 layers of 224 channels in 4 groups."""
    return _proteins(depth=7, channels=224, groups=4)


@preset(parameters=1_467_832)
def revgnn_224_groups_4_depth_14() -> RunConfig:
    """RevGNN, 14 layers of 224 channels in 4 groups."""
    return _proteins(depth=14, channels=224, groups=4)


@preset(parameters=2_904_120)
def revgnn_224_groups_4_depth_28() -> RunConfig:
    """RevGNN, 28 layers of 224 channels in 4 groups."""
    return _proteins(depth=28, channels=224, groups=4)


@preset(parameters=5_776_696)
def revgnn_224_groups_4_depth_56() -> RunConfig:
    """RevGNN, 56 layers of 224 channels in 4 groups."""
    return _proteins(depth=56, channels=224, groups=4)


@preset(parameters=11_521_848)
def revgnn_224_groups_4() -> RunConfig:
    """RevGNN, 112 layers of 224 channels in 4 groups."""
    return _proteins(channels=224, groups=4)


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


@preset(parameters=51_256)
def deq_gnn_64() -> RunConfig:
    """DEQ-GNN, an equilibrium of 64 channels."""
    return _proteins(channels=64, family="equilibrium")


@preset(parameters=537_336)
def deq_gnn_224() -> RunConfig:
    """DEQ-GNN, an equilibrium of 224 channels."""
    return _proteins(channels=224, family="equilibrium")


@preset(parameters=20_031_384)
def revgnn_deep() -> RunConfig:
    """RevGNN-Deep, 1001 layers of 80 channels."""
    return _proteins(depth=1001, channels=80)


@preset(parameters=68_471_608)
def revgnn_wide() -> RunConfig:
    """RevGNN-Wide, 448 layers of 224 channels."""
    return _proteins(depth=448, channels=224, dropout=0.2)
