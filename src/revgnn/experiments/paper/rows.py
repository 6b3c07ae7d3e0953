"""What a published table is made of: figures, rows, tables."""

from __future__ import annotations

from dataclasses import dataclass

from revgnn.experiments.presets import all_presets, get_preset
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Published:
    """What the paper prints in a row.

    Attributes:
        parameters: as printed, such as "1.46M"; the paper rounds some of these and cuts others.
        memory_gb: peak of GPU memory in training, on one V100 (the paper's; others as a table's notes say); None also where it ran
            out of memory.
        out_of_memory_gb: size of the memory that was not enough.
        score: on the test nodes, in [0, 1], by the table's metric.
        score_std: its standard deviation.
        train_days: for all epochs of the protocol (2000 on ogbn-proteins) on one V100.
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
        teacher: the preset whose run this one learns from; None: it learns from labels alone.
    """

    name: str
    preset: str
    published: Published
    views: int | None = None
    parts: int | None = None
    teacher: str | None = None

    @property
    def run(self) -> RunConfig:
        """The run of the row."""
        return get_preset(self.preset)

    @property
    def parameters(self) -> int:
        """Learned numbers of our network on its data set, as its preset states them."""
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
        metric: of its scores: "ROC-AUC" or "accuracy".
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    metric: str = "ROC-AUC"

    def row(self, name: str) -> Row:
        """The row of that name, or of that preset; letter case does not matter, nor does `_` instead of `-`.

        Raises:
            ConfigError: if there is none, with the nearest names.
        """
        wanted = plain(name)
        by_name = {plain(row.name): row for row in self.rows}
        by_preset = {plain(row.preset): row for row in reversed(self.rows)}  # of two rows with one preset, the first
        found = by_name.get(wanted) or by_preset.get(wanted)
        if found is None:
            names = [row.name for row in self.rows]
            hint = did_you_mean(name, names) or (f"; there are {', '.join(names)}." if names else "; it has no networks as rows.")
            raise ConfigError(f"{self.name} has no row {name!r}{hint}")
        return found


def plain(name: str) -> str:
    """A name as it is compared."""
    return name.casefold().replace("_", "-")
