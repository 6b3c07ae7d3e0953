"""The published tables as data: Li et al. 2021, "Training Graph Neural Networks with 1000 Layers" (arXiv:2106.07476).

Figures are as printed. One that is None was printed for another row, or could not be checked against a public source. Each row
names the preset that is the same network under the same training protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

from revgnn.presets import all_presets, get_preset
from revgnn.train.config import RunConfig
from revgnn.train.config_errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Published:
    """What the paper prints in a row.

    Attributes:
        parameters: as printed, such as "1.46M"; the paper rounds some of these and cuts others.
        memory_gb: peak of GPU memory in training, on one V100; None also where it ran out of memory.
        out_of_memory_gb: size of the memory that was not enough.
        score: test ROC-AUC, in [0, 1].
        score_std: its standard deviation.
        train_days: for 2000 epochs on one V100.
    """

    parameters: str | None = None
    memory_gb: float | None = None
    out_of_memory_gb: float | None = None
    score: float | None = None
    score_std: float | None = None
    train_days: float | None = None


@dataclass(frozen=True)
class Row:
    """One network of a table.

    Attributes:
        name: unique within its table.
        preset: what `revgnn train --preset` calls it.
        published: the paper's figures.
        views, parts: how its score is made: logits averaged over `views` random partitions into `parts` parts. None: the table
            gives no score, or the paper does not say.
    """

    name: str
    preset: str
    published: Published
    views: int | None = None
    parts: int | None = None

    @property
    def run(self) -> RunConfig:
        """The run of the row."""
        return get_preset(self.preset)

    @property
    def parameters(self) -> int:
        """Learned numbers of our network on ogbn-proteins, as its preset states them."""
        count = next(preset.parameters for preset in all_presets() if preset.name == self.preset)
        assert count is not None  # a preset of a published network states its size
        return count


@dataclass(frozen=True)
class Table:
    """A published table, or a comparison that the text makes.

    Attributes:
        name: as the command line knows it.
        title: what it compares.
        source: where it stands in the paper.
        rows: its networks.
        notes: what is to be known when reading it, a sentence each.
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> Row:
        """The row of that name, or of that preset; letter case does not matter, nor does `_` instead of `-`.

        Raises:
            ConfigError: if there is none, with the nearest names.
        """
        plain = _plain(name)
        by_name = {_plain(row.name): row for row in self.rows}
        by_preset = {_plain(row.preset): row for row in reversed(self.rows)}  # of two rows with one preset, the first
        found = by_name.get(plain) or by_preset.get(plain)
        if found is None:
            names = [row.name for row in self.rows]
            hint = did_you_mean(name, names) or (f"; there are {', '.join(names)}." if names else "; it has no networks as rows.")
            raise ConfigError(f"{self.name} has no row {name!r}{hint}")
        return found


def tables() -> tuple[Table, ...]:
    """Every table, in the order of the paper."""
    return _TABLES


def get_table(name: str) -> Table:
    """The table of that name.

    Raises:
        ConfigError: if there is none, with the nearest names.
    """
    by_name = {_plain(table.name): table for table in _TABLES}
    found = by_name.get(_plain(name))
    if found is None:
        hint = did_you_mean(name, by_name) or f"; there are {', '.join(by_name)}."
        raise ConfigError(f"unknown table {name!r}{hint}")
    return found


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")


# --- the figures --------------------------------------------------------------------------------------------------------

_BY_DEPTH = {
    2: {3: "490k", 7: "1.1M", 14: "2.2M", 28: "4.3M", 56: "8.6M", 112: "17.2M"},
    4: {3: "339k", 7: "750k", 14: "1.5M", 28: "2.9M", 56: "5.8M", 112: "11.5M"},
}
"""Parameters of RevGNN-224 by groups and layers."""

_GROUPS_GB = {2: 7.30, 4: 11.05}
"""Memory of RevGNN-224 with 112 layers by groups."""

_WIDE_SCORES = {
    (1, 10): Published("68.47M", score=0.8723),
    (1, 5): Published("68.47M", score=0.8762, score_std=0.0018),
    (1, 3): Published("68.47M", score=0.8784),
    (10, 3): Published("68.47M", score=0.8824, score_std=0.0015),
}
"""RevGNN-Wide by views and parts."""


def _depth_row(groups: int, depth: int) -> Row:
    preset = "revgnn-224" + ("" if groups == 2 else f"-groups-{groups}") + ("" if depth == 112 else f"-depth-{depth}")
    memory = _GROUPS_GB[groups] if depth == 112 else None
    return Row(f"RevGNN-224-L{depth}-C{groups}", preset, Published(_BY_DEPTH[groups][depth], memory))


def _view_row(views: int, parts: int) -> Row:
    published = _WIDE_SCORES.get((views, parts), Published("68.47M"))
    return Row(f"RevGNN-Wide-V{views}-P{parts}", "revgnn-wide", published, views, parts)


_TABLES = (
    Table(
        "proteins",
        "RevGNN-Deep and RevGNN-Wide on ogbn-proteins",
        "main paper, results on ogbn-proteins",
        (
            Row("RevGNN-Deep", "revgnn-deep", Published("20.03M", score=0.8774, score_std=0.0013, train_days=13.5), 10, 3),
            Row("RevGNN-Wide", "revgnn-wide", Published("68.47M", 7.91, score=0.8824, score_std=0.0015, train_days=17.1), 10, 3),
        ),
    ),
    Table(
        "table1",
        "RevGNN-224 by depth and number of groups",
        "supplement, Table 1",
        tuple(_depth_row(groups, depth) for groups, depths in _BY_DEPTH.items() for depth in depths),
        ("In the paper memory rises with the number of groups; a large part is a copy of the edge embedding for each group.",),
    ),
    Table(
        "table2",
        "112 layers or an equilibrium: residual, reversible, weight-tied, DEQ",
        "supplement, Table 2",
        (
            Row("ResGNN-64", "resgnn-64", Published("2.37M")),
            Row("ResGNN-224", "resgnn-224", Published("28.4M", out_of_memory_gb=32)),
            Row("WT-ResGNN-64", "wt-resgnn-64", Published("51.2k")),
            Row("WT-ResGNN-224", "wt-resgnn-224", Published("537k", out_of_memory_gb=32)),
            Row("RevGNN-64", "revgnn-64", Published("1.46M", 2.09)),
            Row("RevGNN-80", "revgnn-80", Published("2.25M", 2.56)),
            Row("RevGNN-224", "revgnn-224", Published("17.2M", 7.30)),
            Row("WT-RevGNN-64", "wt-revgnn-64", Published("35.0k", 1.60)),
            Row("WT-RevGNN-80", "wt-revgnn-80", Published("51.4k", 2.08)),
            Row("WT-RevGNN-224", "wt-revgnn-224", Published("337k", 5.55)),
            Row("DEQ-GNN-64", "deq-gnn-64", Published("51.3k", 2.22)),
            Row("DEQ-GNN-224", "deq-gnn-224", Published("537k", 7.60)),
        ),
        (
            "The paper's residual networks store every layer; ours set checkpoints. Measuring says what they need either way.",
            "How the paper solves for an equilibrium is not published; ours is in the preset (revgnn presets deq-gnn-64).",
        ),
    ),
    Table(
        "table3",
        "multi-view inference with RevGNN-Wide",
        "supplement, Table 3",
        tuple(_view_row(views, parts) for views in (1, 5, 10) for parts in (10, 5, 3)),
        ("All rows are one trained network; they differ in how its test score is made.",),
    ),
    Table(
        "checkpoint",
        "gradient checkpointing against reversing",
        "supplement, on gradient checkpointing",
        (
            Row("ResGNN-64-checkpoint", "resgnn-64-checkpoint", Published("2.37M", 5.22)),
            Row("RevGNN-64", "revgnn-64", Published("1.46M", 2.09)),
        ),
    ),
    Table(
        "correlation",
        "correlation of test predictions between three networks",
        "supplement, on the correlation of predictions",
        (),
        (
            "Published Pearson coefficients of the three pairs: 0.8571, 0.8565, 0.8948.",
            "For runs of your own: revgnn correlate RUN RUN ...",
        ),
    ),
)
