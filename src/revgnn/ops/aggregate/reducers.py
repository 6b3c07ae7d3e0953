"""How the messages that reach a node become one: the values that `aggregate` takes as `how`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Form(NamedTuple):
    """What a gradient kernel must distinguish; all False for a sum."""

    mean: bool = False
    softmax: bool = False
    semi_gradient: bool = False
    power: bool = False


@dataclass(frozen=True)
class _WithoutParameter:
    """A reducer that has no number to learn and limits no message."""

    @property
    def parameter(self) -> float | Tensor:
        """The temperature or exponent; 1 if there is none."""
        return 1.0

    @property
    def limits(self) -> tuple[float, float]:
        """Limits that messages are clamped to first."""
        return (-math.inf, math.inf)


@dataclass(frozen=True)
class Sum(_WithoutParameter):
    r"""$\sum_j m_{ij}$"""

    form = Form()

    @property
    def name(self) -> str:
        return "sum"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Mean(_WithoutParameter):
    r"""$\frac{1}{|N(i)|} \sum_j m_{ij}$"""

    form = Form(mean=True)

    @property
    def name(self) -> str:
        return "mean"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Max(_WithoutParameter):
    r"""$\max_j m_{ij}$, channel by channel. Of equal messages the first edge wins, and gets the gradient."""

    form = Form()

    @property
    def name(self) -> str:
        return "max"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Softmax:
    r"""$\sum_j \mathrm{softmax}_j(t\, m_{ij})\, m_{ij}$, channel by channel (Li et al. 2020, arXiv:2006.07739).

    Attributes:
        t: temperature: a number, or a tensor of one element to learn it.
        semi_gradient: treat the softmax weights as constants in the backward pass, as the authors' code does if the temperature is
            fixed; a learned `t` then gets no gradient.
    """

    t: float | Tensor = 1.0
    semi_gradient: bool = False

    @property
    def form(self) -> Form:
        return Form(softmax=True, semi_gradient=self.semi_gradient)

    @property
    def parameter(self) -> float | Tensor:
        """The temperature."""
        return self.t

    @property
    def limits(self) -> tuple[float, float]:
        """Limits that messages are clamped to first: none."""
        return (-math.inf, math.inf)

    @property
    def name(self) -> str:
        return "softmax-semigrad" if self.semi_gradient else "softmax"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Power:
    r"""$\left(\frac{1}{|N(i)|} \sum_j m_{ij}^p\right)^{1/p}$ (Li et al. 2020, arXiv:2006.07739).

    Attributes:
        p: exponent, not 0: a number, or a tensor of one element to learn it.
        clamp: limits that messages are clamped to first, or None. The authors' code uses (1e-7, 10).
    """

    p: float | Tensor = 1.0
    clamp: tuple[float, float] | None = None

    form = Form(power=True)

    @property
    def parameter(self) -> float | Tensor:
        """The exponent."""
        return self.p

    @property
    def limits(self) -> tuple[float, float]:
        """Limits that messages are clamped to first."""
        return self.clamp or (-math.inf, math.inf)

    @property
    def name(self) -> str:
        return "power"

    def __str__(self) -> str:
        return self.name


Reducer = Sum | Mean | Max | Softmax | Power


def with_number(how: Reducer) -> Reducer:
    """Return the reducer with 1 in place of a learned parameter."""
    if not isinstance(how.parameter, Tensor):
        return how
    return Softmax(1.0, how.semi_gradient) if isinstance(how, Softmax) else Power(1.0, how.limits)


def to_text(how: Reducer) -> str:
    """Return a reducer whose parameter is a number as text; `from_text` reads it."""
    low, high = how.limits
    return " ".join([how.name, str(how.parameter), str(low), str(high)])


def from_text(text: str) -> Reducer:
    """Return the reducer that `to_text` was given."""
    name, parameter, low, high = text.split(" ")
    match name:
        case "sum":
            return Sum()
        case "mean":
            return Mean()
        case "max":
            return Max()
        case "power":
            return Power(float(parameter), (float(low), float(high)))
    return Softmax(float(parameter), semi_gradient=name == "softmax-semigrad")
