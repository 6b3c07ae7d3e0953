"""What the catalogue is made of: presets, rows and tables. Published figures have a file of their own."""

from __future__ import annotations

from dataclasses import dataclass

from revgnn.experiments.figures import NOT_PUBLISHED, Figure, Published
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
        notes: where it differs from the authors' code, and what the paper leaves open, a sentence or two each.
    """

    name: str
    description: str
    config: RunConfig
    parameters: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def run(self) -> RunConfig:
        """The configuration, with the name of the preset in it."""
        return self.config.model_copy(update={"preset": self.name})


@dataclass(frozen=True)
class Row:
    """One network of a table.

    Attributes:
        name: the name in the table, unique there.
        preset: the same network under the same training protocol.
        published: its figures, each with its source.
        views, parts: how the score is computed: logits averaged over `views` random partitions into `parts` parts. None: the table
            has no score, or the paper does not say.
        teacher: the preset whose run this network learns from; None: it learns from labels alone.
    """

    name: str
    preset: Preset
    published: Published = NOT_PUBLISHED
    views: int | None = None
    parts: int | None = None
    teacher: Preset | None = None

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
class Other:
    """A network of others in a published table, which has no preset here.

    Attributes:
        name: the name in the table.
        published: its figures, each with its source.
    """

    name: str
    published: Published


@dataclass(frozen=True)
class Comparison:
    """A published figure about two rows of a table, such as the correlation of their predictions.

    Attributes:
        first, second: names of the rows.
        figure: the figure, one of `revgnn.experiments.figures.COMPARED`.
    """

    first: str
    second: str
    figure: Figure


@dataclass(frozen=True)
class Table:
    """A published table, or a comparison in the text of the paper.

    Attributes:
        name: the name on the command line.
        title: what it compares.
        source: where it is published. Each figure has a source of its own.
        rows: its networks. A teacher comes before its student.
        notes: what a reader must know about the figures, one or more sentences each.
        metric: of the scores: "ROC-AUC" or "accuracy".
        comparisons: figures about two of its rows.
        others: networks of others in the same table.
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    metric: str = "ROC-AUC"
    comparisons: tuple[Comparison, ...] = ()
    others: tuple[Other, ...] = ()

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
        hint = did_you_mean(name, names) or f"; there are {', '.join(names)}."
        raise ConfigError(f"{self.name} has no row {name!r}{hint}")


def normalized(name: str) -> str:
    """Return a name in the form in which names are compared: without case, with `-` for `_`."""
    return name.casefold().replace("_", "-")
