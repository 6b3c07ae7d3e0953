"""ogbn-arxiv: the results of the main paper and its comparison of convolutions (arXiv:2106.07476).

Scores of RevGAT come from the README of the authors' code, its number of parameters from OGB's leaderboard. The other figures come
from code and notes of others that list them as the paper's. The log at the end of the authors' main.py has the validation scores of
RevGAT too, to four digits. We found no source for the memory of any network but RevGAT-Wide, nor for most of the comparison.

Depth and width of a network are known if its number of parameters is published: RevGAT has 2,098,256 on OGB's leaderboard and in
the authors' code, RevGAT-Wide 3.88M, RevGCN-Deep 262k, and ResGEN 491,176 in DeeperGCN (arXiv:2006.07739). The other networks have
the depth and width of the network of their kind that has a published number.

Gradients are not clipped, as in the authors' code. Where training differs from it, the notes of the presets say so.
"""

from __future__ import annotations

from typing import Literal

from revgnn.experiments.catalogue import notes
from revgnn.experiments.catalogue.convolutions import compared_model
from revgnn.experiments.figures import Published, published
from revgnn.experiments.row import Preset, Row, Table
from revgnn.models.config import Conv, ModelConfig
from revgnn.train.config import DataConfig, DistillationConfig, OptimConfig, RunConfig

_DATA = DataConfig(name="ogbn-arxiv", undirected=True, self_loops=True)

# --- four convolutions ------------------------------------------------------------------------------------------------------------


def _compared(
    name: str, family: Literal["residual", "reversible"], conv: Conv, parameters: int, network: str | None = None
) -> Preset:
    """2000 epochs of the whole graph, Adam at 1e-3."""
    run = RunConfig(
        data=_DATA,
        model=compared_model(family, conv, depth=28),
        optim=OptimConfig(lr=1e-3, clip_norm=None),
        loss="cross_entropy",
        epochs=2000,
    )
    described = f"{network or name}, 28 layers of 128 channels, for ogbn-arxiv."
    about = notes.COPIED_GROUPS if family == "reversible" else notes.MASK_PER_LAYER
    return Preset(f"arxiv-{name.lower()}", described, run, parameters, (about,))


_REVGCN = _compared("RevGCN", "reversible", "gcn", 262_056, network="RevGCN-Deep")

# --- RevGAT -----------------------------------------------------------------------------------------------------------------------


def _attention_run(*, head_channels: int = 256, groups: int = 2, distillation: DistillationConfig | None = None) -> RunConfig:
    """2000 epochs of the whole graph, RMSprop at 2e-3 with a warm-up of 50 epochs, logarithmic loss, labels as inputs.

    Half of the labels are inputs, and they are reused once. As in the authors' code, attention has no term of the destination node
    and is normalised by degrees, and dropout is high.

    With 2 layers and 768 input features this is the RevGAT of GIANT-XRT (arXiv:2111.00064), which has 1,304,912 parameters.
    """
    model = ModelConfig(
        family="revgat",
        depth=5,
        channels=3 * head_channels,
        heads=3,
        groups=groups,
        norm="batch",
        dropout=0.75,
        input_dropout=0.25,
        edge_dropout=0.3,
        destination=False,
        symmetric=True,
        residual_map=True,
    )
    return RunConfig(
        data=_DATA,
        model=model,
        optim=OptimConfig(name="rmsprop", lr=2e-3, clip_norm=None, warmup=50),
        loss="log",
        label_inputs=0.5,
        label_reuse=1,
        distillation=distillation,
        epochs=2000,
    )


_REVERSIBLE_NOTES = (notes.STATISTICS, notes.COPIED_GROUPS, notes.BEST_EPOCH)

_REVGAT = Preset(
    "revgat",
    "RevGAT, 5 layers of 3 x 256 channels, for ogbn-arxiv: the teacher.",
    _attention_run(),
    parameters=2_098_256,
    notes=_REVERSIBLE_NOTES,
)
_REVGAT_SELFKD = Preset(
    "revgat-selfkd",
    "RevGAT-SelfKD, 5 layers of 3 x 256 channels, for ogbn-arxiv: the student of a revgat (--teacher).",
    _attention_run(distillation=DistillationConfig(alpha=0.95, temperature=0.7, average="entries")),
    parameters=2_098_256,
    notes=(*_REVERSIBLE_NOTES, notes.STUDENT),
)
_REVGAT_WIDE = Preset(
    "revgat-wide",
    "RevGAT-Wide, 5 layers of 3 x 356 channels, for ogbn-arxiv.",
    _attention_run(head_channels=356),
    parameters=3_879_056,
    notes=_REVERSIBLE_NOTES,
)
_RESGAT = Preset(
    "resgat",
    "ResGAT, RevGAT with residual layers, 5 layers of 3 x 256 channels, for ogbn-arxiv.",
    _attention_run(groups=1),
    parameters=3_867_728,
    notes=(notes.MASK_PER_LAYER, notes.BEST_EPOCH),
)

# --- tables ---------------------------------------------------------------------------------------------------------------------

_README, _LEADERBOARD = "README of the authors' code", "leaderboard of OGB"


def _main(row: str, **printed: str) -> Published:
    return published("main paper, results on ogbn-arxiv", row, second_hand=True, **printed)


_OF_REVGCN = _main("RevGCN-Deep", parameters="262k", score="73.01")
_SIZE_OF_REVGAT = published(_LEADERBOARD, parameters="2,098,256")
_OF_REVGAT = (
    _SIZE_OF_REVGAT
    | published(_README, "RevGAT teacher", score="74.02 ± 0.18")
    | published(_LEADERBOARD, "RevGAT+NormAdj+LabelReuse", second_hand=True, valid_score="75.01 ± 0.10")
)
_OF_REVGAT_SELFKD = (
    _SIZE_OF_REVGAT
    | published(_README, "RevGAT student", score="74.26 ± 0.17")
    | published(_LEADERBOARD, "RevGAT+N.Adj+LabelReuse+SelfKD", second_hand=True, valid_score="74.97 ± 0.08")
)
_OF_REVGAT_WIDE = _main("RevGAT-Wide", parameters="3.88M", memory_gb="8.49", score="74.05 ± 0.11")

TABLES = (
    Table(
        "arxiv",
        "RevGCN-Deep and RevGAT on ogbn-arxiv",
        "main paper, results on ogbn-arxiv",
        (
            Row("RevGCN-Deep", _REVGCN, _OF_REVGCN),
            Row("RevGAT", _REVGAT, _OF_REVGAT),
            Row("RevGAT-Wide", _REVGAT_WIDE, _OF_REVGAT_WIDE),
            Row("RevGAT-SelfKD", _REVGAT_SELFKD, _OF_REVGAT_SELFKD, teacher=_REVGAT),
        ),
        notes=(
            "RevGAT-SelfKD learns from a RevGAT: train that first, and name its run by --teacher.",
            "Figures of RevGCN-Deep and RevGAT-Wide, and validation scores, are second-hand.",
        ),
        metric="accuracy",
    ),
    Table(
        "arxiv-convs",
        "residual and reversible networks of four convolutions on ogbn-arxiv",
        "main paper, comparison of convolutions on ogbn-arxiv",
        (
            Row("ResGCN", _compared("ResGCN", "residual", "gcn", 491_176)),
            Row("RevGCN", _REVGCN, _OF_REVGCN),
            Row("ResSAGE", _compared("ResSAGE", "residual", "sage", 949_928)),
            Row("RevSAGE", _compared("RevSAGE", "reversible", "sage", 491_432)),
            Row(
                "ResGEN",
                _compared("ResGEN", "residual", "gen", 491_176),
                _main("ResGEN", parameters="491k", score="72.32"),
            ),
            Row("RevGEN", _compared("RevGEN", "reversible", "gen", 262_056)),
            Row("ResGAT", _RESGAT),
            Row("RevGAT", _REVGAT, _OF_REVGAT),
            Row("RevGAT-wide", _REVGAT_WIDE, _OF_REVGAT_WIDE),
        ),
        notes=(
            "Layers and channels are those of RevGCN-Deep and RevGAT. Figures of all but RevGAT are second-hand, and so are "
            "validation scores.",
        ),
        metric="accuracy",
    ),
)
