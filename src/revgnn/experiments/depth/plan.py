"""`Plan`: the families, depths, rates, splits and seeds of a study, and the run of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from revgnn.experiments.tune.space import Candidate
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError

DEPTHS = (3, 7, 14, 28, 56, 112)

RATES = (0.001, 0.003, 0.01)
"""Learning rates to choose from."""

DROPOUTS = (0.2, 0.5)
"""Dropout rates to choose from."""

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "reversible": {"model.family": "reversible", "model.tied": False},
    "tied": {"model.family": "reversible", "model.tied": True, "model.unit": "single"},
    "residual": {"model.family": "residual", "model.tied": False},
    "tied-residual": {"model.family": "residual", "model.tied": True, "model.unit": "single"},
    "revgat": {"model.family": "revgat", "model.tied": False, "model.conv": "gat"},
    "equilibrium": {"model.family": "equilibrium"},
}
"""The networks of a study, and the settings that make a run theirs. The depth of an equilibrium is the most evaluations of its unit
in a solve, in training and in evaluation, as in the paper's table of iterations."""

_SAVES = 10
"""States that a run saves: often enough for a process that is killed, and rarely enough for networks of many layers."""


@dataclass(frozen=True)
class Cell:
    """One family at one depth."""

    family: str
    depth: int

    @property
    def name(self) -> str:
        """The name of its folders."""
        return f"{self.family}-{self.depth}"


@dataclass(frozen=True)
class Plan:
    """What a study compares.

    Attributes:
        families: names of `FAMILIES`.
        depths: in layers, ascending.
        rates, dropouts: what each family and depth chooses from, on the first split and seed.
        splits, seeds: every split is trained with every seed.

    Raises:
        ConfigError: if one of them is empty, has something twice, or is out of range.
    """

    families: tuple[str, ...] = ("reversible",)
    depths: tuple[int, ...] = DEPTHS
    rates: tuple[float, ...] = RATES
    dropouts: tuple[float, ...] = DROPOUTS
    splits: tuple[int | str, ...] = (0,)
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        for name, values in asdict(self).items():
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{name} of a depth study must be one or more, each once, got {', '.join(map(str, values))}.")
        for family in self.families:
            if family not in FAMILIES:
                raise ConfigError(f"families of a depth study are {', '.join(FAMILIES)}; got {family!r}.")
        object.__setattr__(self, "depths", tuple(sorted(self.depths)))

    def cells(self) -> list[Cell]:
        """Return every family at every depth, the shallow ones first."""
        return [Cell(family, depth) for depth in self.depths for family in self.families]

    def pairs(self) -> Iterator[tuple[int | str, int]]:
        """Yield every split with every seed; the first is the one on which rates are chosen."""
        for seed in self.seeds:
            for split in self.splits:
                yield split, seed

    def candidates(self) -> list[Candidate]:
        """Return the rates to choose from."""
        return [
            Candidate(f"lr {rate:g}, dropout {dropout:g}", {"optim.lr": rate, "model.dropout": dropout})
            for rate in self.rates
            for dropout in self.dropouts
        ]


def cell_run(base: RunConfig, cell: Cell) -> RunConfig:
    """Return the run of a family at a depth, with the rates of `base`.

    Raises:
        ConfigError: if the network cannot have these settings, such as an odd depth of tied pairs.
    """
    saves = math.ceil(base.epochs / _SAVES)
    changes = {**FAMILIES[cell.family], "save_every": max(base.save_every, saves)}
    if cell.family == "equilibrium":
        changes |= {"model.solver.forward_steps": cell.depth, "model.solver.evaluation_steps": cell.depth}
    else:
        changes["model.depth"] = cell.depth
    try:
        return base.replace(changes)
    except ConfigError as error:
        raise ConfigError(f"{cell.family} of {cell.depth} layers: {error}") from None


def on(run: RunConfig, split: int | str, seed: int) -> RunConfig:
    """Return the run on a split, with a seed."""
    assert run.data is not None  # `study` checked
    return run.model_copy(update={"data": run.data.model_copy(update={"split": split}), "seed": seed})


def read_numbers(text: str | None, kind: type[int] | type[float], what: str, default: Sequence[Any]) -> tuple[Any, ...]:
    """Return the numbers that a text such as "3,7,14" lists, or the default if there is none.

    Raises:
        ConfigError: for anything else, or a number out of range.
    """
    if text is None:
        return tuple(default)
    try:
        numbers = tuple(kind(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    low = 1 if kind is int else 0
    if not numbers or not all(low <= number < math.inf for number in numbers):
        example = "3,7,14" if kind is int else "0.003,0.01"
        raise ConfigError(f"{what} are numbers with commas between them, such as {example}, got {text!r}.")
    return numbers
