"""ogbn-proteins: the results of the main paper and the tables of its supplement (arXiv:2106.07476).

Figures of the supplement are read in it. Figures of the main paper are second-hand, except those that the authors repeat in the
README of their code: we know them from notes and code of others that list them. The paper gives RevGNN-224 with 112 layers 17.2M
parameters in Table 1 and 17.1M in Table 2; ours has 17,141,560.
"""

from __future__ import annotations

from revgnn.experiments.catalogue.proteins_depth import DEPTH
from revgnn.experiments.catalogue.proteins_networks import (
    checkpointed,
    equilibrium,
    residual,
    reversible,
    tied_reversible,
    wide,
)
from revgnn.experiments.figures import Figure, Published, Source, published
from revgnn.experiments.row import Comparison, Other, Preset, Row, Table

_README = "README of the authors' code"
_MEASURED = (
    "The paper's GB are the peak of allocated tensors in the first training epoch, by torch.cuda.max_memory_allocated, on a V100 "
    "of 32 GB; what nvidia-smi shows is larger (supplement, B.3)."
)

# --- main paper -----------------------------------------------------------------------------------------------------------------

_MAIN = "main paper, results on ogbn-proteins"


def _main(row: str, **printed: str) -> Published:
    return published(_MAIN, row, second_hand=True, **printed)


def _other(name: str, score: str, parameters: str, memory_gb: str | None = None) -> Other:
    printed = {} if memory_gb is None else {"memory_gb": memory_gb}
    return Other(name, _main(name, score=score, parameters=parameters, **printed))


_PROTEINS = Table(
    "proteins",
    "RevGNN-Deep and RevGNN-Wide on ogbn-proteins",
    _MAIN,
    (
        Row(
            "RevGNN-Deep",
            reversible(80, 1001),
            published(_README, score="87.74 ± 0.13")
            | _main("RevGNN-Deep", parameters="20.03M", memory_gb="2.86", train_days="13.5"),
            views=10,
            parts=3,
        ),
        Row(
            "RevGNN-Wide",
            wide(),
            published(_README, score="88.24 ± 0.15")
            | _main("RevGNN-Wide", parameters="68.47M", memory_gb="7.91", train_days="17.1"),
            views=10,
            parts=3,
        ),
    ),
    notes=("Parameters, memory and days, and all figures of others' networks, are second-hand.", _MEASURED),
    others=(
        _other("GCN", "72.51 ± 0.35", "96.9k", "4.68"),
        _other("GraphSAGE", "77.68 ± 0.20", "193k", "3.12"),
        _other("DeeperGCN", "86.16 ± 0.16", "2.37M", "27.1"),
        _other("UniMP", "86.42 ± 0.08", "1.91M"),
        _other("GAT", "86.82 ± 0.21", "2.48M", "6.74"),
        _other("UniMP + CEF", "86.91 ± 0.18", "1.96M", "27.2"),
    ),
)

# --- supplement, Table 1 --------------------------------------------------------------------------------------------------------

_BY_GROUPS = "supplement, A"


def _by_depth(layers: int, groups: int, parameters: str, score: str, memory: str | None = None) -> Row:
    """RevGNN with 224 channels."""
    figures = published(
        "supplement, Table 1",
        f"{layers} layers, group {groups}",
        layers=str(layers),
        groups=str(groups),
        channels="224",
        parameters=parameters,
        score=score,
    )
    in_text = published(_BY_GROUPS, memory_gb=memory)
    return Row(f"RevGNN-224-L{layers}-C{groups}", reversible(224, layers, groups=groups), figures | in_text)


def _of_groups(name: str, printed: str) -> Comparison:
    return Comparison("RevGNN-224-L112-C2", "RevGNN-224-L112-C4", Figure(name, printed, Source(_BY_GROUPS)))


_TABLE_1 = Table(
    "table1",
    "RevGNN-224 by depth and number of groups",
    "supplement, Table 1",
    (
        _by_depth(3, 2, "490k", "85.09"),
        _by_depth(7, 2, "1.1M", "85.68"),
        _by_depth(14, 2, "2.2M", "86.62"),
        _by_depth(28, 2, "4.3M", "86.68"),
        _by_depth(56, 2, "8.6M", "86.90"),
        _by_depth(112, 2, "17.2M", "87.02", "7.30 GB"),
        _by_depth(3, 4, "339k", "84.86"),
        _by_depth(7, 4, "750k", "85.25"),
        _by_depth(14, 4, "1.5M", "85.79"),
        _by_depth(28, 4, "2.9M", "86.30"),
        _by_depth(56, 4, "5.8M", "86.76"),
        _by_depth(112, 4, "11.5M", "87.09", "11.05 GB"),
    ),
    notes=(
        "In the paper memory rises with the number of groups; a large part is a copy of the edge embedding for each group.",
        _MEASURED,
    ),
    comparisons=(_of_groups("parameters_less", "more than 30%"), _of_groups("parameters_ratio", "around 67%")),
)

# --- supplement, Table 2 --------------------------------------------------------------------------------------------------------


def _compared(preset: Preset, model: str, score: str, memory: str, parameters: str, days: str) -> Row:
    """One row of Table 2, in the order of its columns."""
    channels = str(preset.config.model.channels)
    figures = published(
        "supplement, Table 2",
        f"{model}, {channels} channels",
        channels=channels,
        score=score,
        memory_gb=memory,
        parameters=parameters,
        train_days=days,
    )
    if memory == "OOM":
        figures |= published("supplement, Table 2", out_of_memory_gb="32GB")
    return Row(f"{model}-{channels}", preset, figures)


_TABLE_2 = Table(
    "table2",
    "112 layers or an equilibrium: residual, reversible, weight-tied, DEQ",
    "supplement, Table 2",
    (
        _compared(residual(64), "ResGNN", "85.94", "27.1", "2.37M", "1.3"),
        _compared(residual(224), "ResGNN", "-", "OOM", "28.4M", "-"),
        _compared(residual(64, tied=True), "WT-ResGNN", "83.30", "27.4", "51.2k", "1.2"),
        _compared(residual(224, tied=True), "WT-ResGNN", "-", "OOM", "537k", "-"),
        _compared(equilibrium(64), "DEQ-GNN", "83.17", "2.22", "51.3k", "1.3"),
        _compared(equilibrium(224), "DEQ-GNN", "85.84", "7.60", "537k", "2.9"),
        _compared(reversible(64), "RevGNN", "85.48", "2.09", "1.46M", "1.8"),
        _compared(reversible(80), "RevGNN", "85.97", "2.56", "2.25M", "2.2"),
        _compared(reversible(224), "RevGNN", "87.02", "7.30", "17.1M", "4.9"),
        _compared(tied_reversible(64), "WT-RevGNN", "82.89", "1.60", "35.0k", "1.7"),
        _compared(tied_reversible(80), "WT-RevGNN", "83.46", "2.08", "51.4k", "2.0"),
        _compared(tied_reversible(224), "WT-RevGNN", "85.28", "5.55", "337k", "4.8"),
    ),
    notes=(
        "All networks but DEQ-GNN have 112 layers; a DEQ-GNN is one unit, solved for.",
        "The paper's residual networks store every layer; ours set checkpoints. Measuring says what they need either way.",
        "How the paper solves for an equilibrium is not published; ours is in the preset (revgnn presets deq-gnn-64).",
        _MEASURED,
    ),
    comparisons=(
        Comparison(
            "DEQ-GNN-64", "WT-RevGNN-80", Figure("train_days", "1.3 days vs. 2 days", Source("supplement, B.2, on ablations"))
        ),
    ),
)

# --- supplement, Table 3 --------------------------------------------------------------------------------------------------------


def _by_views(model: str, views: int, parts: int, score: str, *, again: bool = False) -> Row:
    """One row of Table 3. `again`: a row that the table has printed before."""
    preset = reversible(80, 1001) if model == "RevGNN-Deep" else wide()
    figures = published(
        "supplement, Table 3",
        f"{model}, {views} view{'s' if views > 1 else ''}, {parts} parts{', again' if again else ''}",
        layers=str(preset.config.model.depth),
        channels=str(preset.config.model.channels),
        views=str(views),
        parts=str(parts),
        score=score,
    )
    return Row(f"{model}-V{views}-P{parts}{'-again' if again else ''}", preset, figures, views, parts)


_FEWEST_VIEWS, _MOST_VIEWS = "V1-P3", "V10-P3"

_TABLE_3 = Table(
    "table3",
    "multi-view inference with RevGNN-Deep and RevGNN-Wide",
    "supplement, Table 3",
    (
        _by_views("RevGNN-Deep", 1, 3, "87.29 ± 0.16"),
        _by_views("RevGNN-Deep", 5, 3, "87.68 ± 0.13"),
        _by_views("RevGNN-Deep", 10, 3, "87.74 ± 0.13"),
        _by_views("RevGNN-Wide", 1, 3, "87.84 ± 0.21"),
        _by_views("RevGNN-Wide", 5, 3, "88.20 ± 0.16"),
        _by_views("RevGNN-Wide", 10, 3, "88.24 ± 0.15"),
        _by_views("RevGNN-Wide", 1, 3, "87.84 ± 0.21", again=True),
        _by_views("RevGNN-Wide", 1, 5, "87.62 ± 0.18"),
        _by_views("RevGNN-Wide", 1, 10, "87.23 ± 0.22"),
    ),
    notes=(
        "Rows of one model are one trained network; they differ in how its test score is made. The paper prints RevGNN-Wide with "
        "one view of 3 parts twice, among its views and among its parts.",
        "The paper infers in mixed precision (supplement, B.2): evaluation.amp=fp16.",
    ),
    comparisons=tuple(
        Comparison(
            f"{model}-{_MOST_VIEWS}", f"{model}-{_FEWEST_VIEWS}", Figure("score_gain", "about 0.4%", Source("supplement, B.2"))
        )
        for model in ("RevGNN-Deep", "RevGNN-Wide")
    ),
)

# --- supplement, B.4 and C.1 ----------------------------------------------------------------------------------------------------

_CHECKPOINTING = "supplement, C.1"


def _of_64_channels(name: str, preset: Preset, memory: str) -> Row:
    return Row(name, preset, published(_CHECKPOINTING, name, layers="112", channels="64", memory_gb=memory))


_CHECKPOINT = Table(
    "checkpoint",
    "gradient checkpointing against reversing",
    _CHECKPOINTING,
    (
        _of_64_channels("ResGNN-64-checkpoint", checkpointed(), "5.22 G"),
        _of_64_channels("RevGNN-64", reversible(64), "2.09 G"),
    ),
    notes=("The paper says that both have similar scores and train in similar time, without figures.", _MEASURED),
    comparisons=(Comparison("ResGNN-64-checkpoint", "RevGNN-64", Figure("memory_ratio", "2.5X", Source(_CHECKPOINTING))),),
)

_CORRELATIONS = "supplement, B.4"


def _pair(first: str, second: str, printed: str) -> Comparison:
    return Comparison(first, second, Figure("pearson", printed, Source(_CORRELATIONS, f"{first} vs. {second}")))


_CORRELATION = Table(
    "correlation",
    "correlation of test predictions between three networks",
    _CORRELATIONS,
    (
        Row("RevGNN-Deep", reversible(80, 1001), published(_CORRELATIONS, "RevGNN", layers="1000")),
        Row("WT-RevGNN-224-L7", tied_reversible(224, 7), published(_CORRELATIONS, "WT-RevGNN-224", channels="224", layers="7")),
        Row(
            "DEQ-GNN-224-I56",
            equilibrium(224, 56),
            published(_CORRELATIONS, "DEQ-GNN-224", channels="224", iterations="56"),
        ),
    ),
    notes=(
        "The paper's RevGNN of 1000 layers is taken to be RevGNN-Deep, which has 1001.",
        "For runs of your own: train the three (--train), then revgnn correlate RUN RUN RUN. The paper does not say whether it "
        "correlates probabilities or logits; --json has both.",
    ),
    comparisons=(
        _pair("RevGNN-Deep", "WT-RevGNN-224-L7", "0.8571"),
        _pair("RevGNN-Deep", "DEQ-GNN-224-I56", "0.8565"),
        _pair("WT-RevGNN-224-L7", "DEQ-GNN-224-I56", "0.8948"),
    ),
)

TABLES = (_PROTEINS, DEPTH, _TABLE_1, _TABLE_2, _TABLE_3, _CHECKPOINT, _CORRELATION)
