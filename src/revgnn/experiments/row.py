"""What the catalogue is made of: presets, published figures, rows and tables."""

from __future__ import annotations

from dataclasses import dataclass

from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """A run with a name.

    Attributes:
        name: the name on the command line (`--preset NAME`).
        description: one sentence for `revgnn presets`.
        config: the configuration, without the name.
        parameters: the exact number of parameters of its network on its data set; None for presets that are not a row of a table.
    """

    name: str
    description: str
    config: RunConfig
    parameters: int | None = None

    @property
    def run(self) -> RunConfig:
        """The configuration, with the name of the preset in it."""
        return self.config.model_copy(update={"preset": self.name})


@dataclass(frozen=True)
class Published:
    """The published figures of a row, as printed. None: not published, or not confirmed by any public source.

    Attributes:
        parameters: such as "1.46M". The paper rounds some of these numbers and truncates others.
        memory_gb: peak GPU memory of training in GB, on one V100 unless the notes of the table name another device; None also if
            training ran out of memory.
        out_of_memory_gb: size in GB of the GPU memory that was too small.
        score: on the test nodes, in [0, 1], in the metric of the table.
        score_std: standard deviation of the score.
        train_days: days of training for all epochs of the protocol, on one V100.
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
        name: the name in the table, unique there.
        preset: the same network under the same training protocol.
        published: figures from the source that the table names.
        views, parts: how the score is computed: logits averaged over `views` random partitions into `parts` parts. None: the table
            has no score, or the paper does not say.
        teacher: the preset whose run this network learns from; None: it learns from labels alone.
        second_hand: names of the published figures that we know only from code and notes of others, not from the paper or its
            authors.
    """

    name: str
    preset: Preset
    published: Published = Published()
    views: int | None = None
    parts: int | None = None
    teacher: Preset | None = None
    second_hand: tuple[str, ...] = ()

    @property
    def run(self) -> RunConfig:
        """The run of the preset."""
        return self.preset.run

    @property
    def parameters(self) -> int:
        """The exact number of parameters of our network."""
        assert self.preset.parameters is not None  # the catalogue has it for every row
        return self.preset.parameters


@dataclass(frozen=True)
class Table:
    """A published table, or a comparison in the text of the paper.

    Attributes:
        name: the name on the command line.
        title: what it compares.
        source: where its figures are published.
        rows: its networks. A teacher comes before its student.
        notes: what a reader must know about the figures, one or more sentences each.
        metric: of the scores: "ROC-AUC" or "accuracy".
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    metric: str = "ROC-AUC"

    def row(self, name: str) -> Row:
        """Return the row with this name; or the first row with this preset. See `normalized` for how names are compared.

        Raises:
            ConfigError: if there is none, with the nearest names.
        """
        wanted = normalized(name)
        by_name = [row for row in self.rows if normalized(row.name) == wanted]
        by_preset = [row for row in self.rows if normalized(row.preset.name) == wanted]
        if found := by_name or by_preset:
            return found[0]
        names = [row.name for row in self.rows]
        hint = did_you_mean(name, names) or (f"; there are {', '.join(names)}." if names else "; it has no networks as rows.")
        raise ConfigError(f"{self.name} has no row {name!r}{hint}")


def normalized(name: str) -> str:
    """Return a name in the form in which names are compared: without case, with `-` for `_`."""
    return name.casefold().replace("_", "-")
