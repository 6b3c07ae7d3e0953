"""The networks of the paper on ogbn-proteins, as presets. One function a family."""

from __future__ import annotations

from revgnn.experiments.catalogue import notes
from revgnn.experiments.row import Preset
from revgnn.models.config import ModelConfig, SolverConfig
from revgnn.train.config import DataConfig, EvalConfig, RunConfig

_RESGNN = {
    64: {3: 72_376, 7: 156_856, 14: 304_696, 28: 600_376, 56: 1_191_736, 112: 2_374_456, 448: 9_470_776},
    224: {112: 28_380_536},
}
"""Parameters of ResGNN: by channels, then by layers."""

_REVGNN = {
    (64, 2): {112: 1_457_080},
    (80, 2): {
        3: 71_384,
        7: 151_384,
        14: 291_384,
        28: 571_384,
        56: 1_131_384,
        112: 2_251_384,
        448: 8_971_384,
        1001: 20_031_384,
    },
    (224, 2): {3: 489_848, 7: 1_100_920, 14: 2_170_296, 28: 4_309_048, 56: 8_586_552, 112: 17_141_560, 448: 68_471_608},
    (224, 4): {3: 339_320, 7: 749_688, 14: 1_467_832, 28: 2_904_120, 56: 5_776_696, 112: 11_521_848},
}
"""Parameters of RevGNN: by channels and groups, then by layers."""

_WT_RESGNN = {64: 51_256, 224: 537_336}
"""Parameters of WT-ResGNN by channels, for any number of layers. DEQ-GNN has as many."""

_WT_REVGNN = {64: 35_000, 80: 51_384, 224: 337_080}


def _preset(name: str, description: str, parameters: int, model: ModelConfig, *, about: tuple[str, ...]) -> Preset:
    """2000 epochs of 10 random parts, Adam at 1e-3, max aggregation, layer norm, one dropout mask; validation on 5 parts."""
    run = RunConfig(data=DataConfig(name="ogbn-proteins"), model=model, evaluation=EvalConfig(parts=5), epochs=2000, parts=10)
    return Preset(name, description, run, parameters, (*about, notes.MIXED_PRECISION))


def _name(network: str, depth: int) -> str:
    return network if depth == 112 else f"{network}-depth-{depth}"


def residual(channels: int, depth: int = 112, *, tied: bool = False) -> Preset:
    """Return ResGNN, or WT-ResGNN."""
    unit = "single" if tied else "pair"
    model = ModelConfig(family="residual", depth=depth, channels=channels, tied=tied, unit=unit, dropout=0.1)
    about = (notes.MASK_PER_LAYER, notes.STORED_LAYERS)
    shape = f"{depth} layers of {channels} channels"
    if tied:
        name = _name(f"wt-resgnn-{channels}", depth)
        return _preset(name, f"Weight-tied ResGNN, {shape}.", _WT_RESGNN[channels], model, about=(notes.TIED_LAYERS, *about))
    return _preset(_name(f"resgnn-{channels}", depth), f"ResGNN, {shape}.", _RESGNN[channels][depth], model, about=about)


def reversible(channels: int, depth: int = 112, *, groups: int = 2) -> Preset:
    """Return RevGNN. With 1001 layers it is RevGNN-Deep."""
    name = _name(f"revgnn-{channels}" if groups == 2 else f"revgnn-{channels}-groups-{groups}", depth)
    described = f"RevGNN, {depth} layers of {channels} channels in {groups} groups."
    if depth == 1001:
        name, described = "revgnn-deep", f"RevGNN-Deep, {depth} layers of {channels} channels."
    model = ModelConfig(family="reversible", depth=depth, channels=channels, groups=groups, dropout=0.1)
    return _preset(name, described, _REVGNN[channels, groups][depth], model, about=(notes.COPIED_GROUPS,))


def wide() -> Preset:
    """Return RevGNN-Wide, which has a higher rate of dropout."""
    model = ModelConfig(family="reversible", depth=448, channels=224, groups=2, dropout=0.2)
    described = "RevGNN-Wide, 448 layers of 224 channels."
    return _preset("revgnn-wide", described, _REVGNN[224, 2][448], model, about=(notes.COPIED_GROUPS,))


def tied_reversible(channels: int, depth: int = 112) -> Preset:
    """Return WT-RevGNN."""
    model = ModelConfig(family="reversible", depth=depth, channels=channels, groups=2, tied=True, unit="single", dropout=0.1)
    return _preset(
        _name(f"wt-revgnn-{channels}", depth),
        f"Weight-tied RevGNN, {depth} layers of {channels} channels.",
        _WT_REVGNN[channels],
        model,
        about=(notes.TIED_LAYERS, notes.COPIED_GROUPS),
    )


def equilibrium(channels: int, iterations: int | None = None) -> Preset:
    """Return DEQ-GNN.

    Args:
        iterations: the most of a solve, in training and in evaluation; None: our defaults.
    """
    name, described, solver = f"deq-gnn-{channels}", f"DEQ-GNN, an equilibrium of {channels} channels", None
    if iterations is not None:
        name, described = f"{name}-iterations-{iterations}", f"{described}, solved for in at most {iterations} iterations"
        solver = SolverConfig(forward_steps=iterations, evaluation_steps=iterations)
    model = ModelConfig(family="equilibrium", depth=112, channels=channels, dropout=0.1, solver=solver)
    about = (notes.SOLVER if iterations is None else notes.ITERATIONS,)
    return _preset(name, f"{described}.", _WT_RESGNN[channels], model, about=about)


def checkpointed() -> Preset:
    """Return ResGNN of 64 channels that stores a state every 4 layers, where its memory is least.

    What one layer keeps for its gradient is about 8 times its state, so sqrt(depth) layers between two states are too many.
    """
    model = ModelConfig(family="residual", depth=112, channels=64, dropout=0.1, gradient="checkpoint", checkpoint_every=4)
    return _preset(
        "resgnn-64-checkpoint",
        "ResGNN, 112 layers of 64 channels, with gradient checkpointing every 4 layers.",
        _RESGNN[64][112],
        model,
        about=(notes.CHECKPOINTS, notes.MASK_PER_LAYER),
    )
