"""What a checkpoint says of its network, and what it leaves open."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from revgnn.interop.official.file import OfficialError
from revgnn.models import ModelConfig
from revgnn.models.layers import DataShape
from revgnn.train.config import RunConfig

Settings = dict[str, Any]
"""Settings of a run by their dotted keys, such as "model.depth"."""


@dataclass(frozen=True)
class Open:
    """A setting that the names and shapes of a checkpoint do not determine.

    Attributes:
        why: why it is open, for the error.
        choices: the values that it may have; None: any.
        default: what it is unless something else says so; None: it must be given.
    """

    why: str
    choices: tuple[Any, ...] | None = None
    default: Any = None


@dataclass(frozen=True)
class Reading:
    """A checkpoint in our terms.

    Attributes:
        tensors: weights and buffers by our names, with our shapes.
        known: the settings that names and shapes determine.
        open: the settings that they leave open.
        shape: the sizes that the data set determines.
    """

    tensors: dict[str, Tensor]
    known: Settings
    open: dict[str, Open]
    shape: DataShape


class Layout(ABC):
    """The names and shapes of one kind of network in the authors' code.

    Attributes:
        data: the data set that the authors train it on.
        run: the configuration of a run unless a preset gives another.
    """

    data: ClassVar[str]
    run: ClassVar[RunConfig]

    @abstractmethod
    def fits(self, names: Sequence[str]) -> bool:
        """Whether a state dict with these names is one of this kind."""

    @abstractmethod
    def read(self, tensors: Mapping[str, Tensor]) -> Reading:
        """Return a state dict in our terms.

        Raises:
            OfficialError: for a name or a shape that the authors' code does not write.
        """

    @abstractmethod
    def also_open(self, settings: Settings) -> dict[str, Open]:
        """Return the settings that are open because of the values of others."""

    @abstractmethod
    def settings_of(self, args: Mapping[str, Any]) -> Settings:
        """Return the settings that arguments of the authors' program stand for."""

    @abstractmethod
    def write(self, config: RunConfig, model: ModelConfig, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Settings]:
        """Return weights and buffers by the authors' names, and the arguments with which their program builds the network.

        Raises:
            OfficialError: if the authors' code has no such network.
        """


def rename(name: str, prefixes: Mapping[str, str]) -> str | None:
    """Return a name with the first of these beginnings replaced; None if it has none of them."""
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return None


def reverse(table: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in table.items()}


def numbered(pattern: str, names: Sequence[str], what: str) -> list[int]:
    """Return the numbers, from 0 or 1 on without a gap, that group 1 of a pattern has in these names.

    Raises:
        OfficialError: if there is a gap.
    """
    found = sorted({int(match[1]) for name in names if (match := re.match(pattern, name))})
    if found and found != list(range(found[0], found[0] + len(found))):
        missing = next(n for n in range(found[0], found[-1]) if n not in found)
        raise OfficialError(f"the checkpoint has {what} {found[-1]} but not {what} {missing}.")
    return found


def get(tensors: Mapping[str, Tensor], name: str, dims: int) -> Tensor:
    """Return a tensor of a state dict.

    Raises:
        OfficialError: if it is missing, or does not have this number of dimensions.
    """
    if name not in tensors:
        raise OfficialError(f"the checkpoint has no {name}, which the authors' code writes.")
    if tensors[name].dim() != dims:
        raise OfficialError(f"{name} must have {dims} dimensions, got shape {tuple(tensors[name].shape)}.")
    return tensors[name]


def unknown(name: str) -> OfficialError:
    return OfficialError(f"the checkpoint has {name!r}, which the authors' code does not write.")
