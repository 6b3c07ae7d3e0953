"""How the messages that reach a node become one: the values that `aggregate` takes as `how`.

Beside its formula, a reducer tells the operator:

- `name`: as configurations and the command line call it;
- `parameter`: its temperature or exponent, a number or a tensor to learn; None if it has none;
- `limits`: what messages are clamped to first;
- `backward_reads_x`: whether the backward pass computes the messages again, and so reads `x`;
- `check(eps)`: whether it is defined for messages of at least `eps`;
- `without_tensor()`: the same reducer with a number in place of a learned parameter, which is an input of the operator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

R = TypeVar("R")
UNLIMITED = (-math.inf, math.inf)


class _WithoutParameter:
    """What sum, mean and maximum have in common: nothing to learn, no limits, defined for all messages."""

    name: str
    parameter = None
    limits = UNLIMITED
    backward_reads_x = True

    def check(self, eps: float) -> None:
        pass

    def without_tensor(self: R) -> R:
        return self

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Sum(_WithoutParameter):
    r"""$\sum_j m_{ij}$"""

    name = "sum"


@dataclass(frozen=True)
class Mean(_WithoutParameter):
    r"""$\frac{1}{|N(i)|} \sum_j m_{ij}$"""

    name = "mean"


@dataclass(frozen=True)
class Max(_WithoutParameter):
    r"""$\max_j m_{ij}$, channel by channel. Of equal messages the first edge wins, and gets the gradient."""

    name = "max"
    backward_reads_x = False  # it reads which edges won


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

    limits = UNLIMITED
    backward_reads_x = True

    @property
    def name(self) -> str:
        return "softmax-semigrad" if self.semi_gradient else "softmax"

    @property
    def parameter(self) -> float | Tensor:
        return self.t

    def check(self, eps: float) -> None:
        _check_one_element(self, self.t)

    def without_tensor(self) -> Softmax:
        return Softmax(1.0, self.semi_gradient) if isinstance(self.t, Tensor) else self

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Power:
    r"""$\left(\frac{1}{|N(i)|} \sum_j m_{ij}^p\right)^{1/p}$ (Li et al. 2020, arXiv:2006.07739).

    Attributes:
        p: exponent, not 0: a number, or a tensor of one element to learn it.
        clamp: limits (low, high), high above 0, that messages are clamped to first, or None. The authors' code uses (1e-7, 10).
        clamp_mean: limits (low, high), low above 0, that the mean of the powers is clamped to before its root is taken, or None.
            The authors' code uses (1e-7, 10). A node that no edge reaches then has a mean of 0, so it gets the root of `low`.

    Raises:
        ValueError: if p is the number 0, or limits are not in order. A learned p that is 0 is refused when it is used.
    """

    p: float | Tensor = 1.0
    clamp: tuple[float, float] | None = None
    clamp_mean: tuple[float, float] | None = None

    name = "power"
    backward_reads_x = True

    def __post_init__(self) -> None:
        if not isinstance(self.p, Tensor) and self.p == 0:
            raise ValueError("the power mean has no exponent 0 (its limit there is the geometric mean); choose another p.")
        if self.clamp is not None and not (self.clamp[0] < self.clamp[1] and self.clamp[1] > 0):
            raise ValueError(f"clamp must be two limits (low, high) with low below high and high above 0, got {self.clamp}.")
        if self.clamp_mean is not None and not 0 < self.clamp_mean[0] < self.clamp_mean[1]:
            raise ValueError(f"clamp_mean must be two limits (low, high) with low above 0 and below high, got {self.clamp_mean}.")

    @property
    def parameter(self) -> float | Tensor:
        return self.p

    @property
    def limits(self) -> tuple[float, float]:
        return self.clamp or UNLIMITED

    def check(self, eps: float) -> None:
        _check_one_element(self, self.p)
        if eps <= 0 and (self.clamp is None or self.clamp[0] <= 0):
            raise ValueError(f"the power mean needs positive messages: eps must be above 0, got {eps}.")

    def without_tensor(self) -> Power:
        return Power(1.0, self.clamp) if isinstance(self.p, Tensor) else self

    def __str__(self) -> str:
        return self.name


Reducer = Sum | Mean | Max | Softmax | Power


def _check_one_element(how: Softmax | Power, parameter: float | Tensor) -> None:
    if isinstance(parameter, Tensor) and parameter.numel() != 1:
        raise ValueError(f"the parameter of {how} must be a number or a tensor of one element, got shape {tuple(parameter.shape)}.")


def to_text(how: Reducer) -> str:
    """Return a reducer whose parameter is a number as text, which `from_text` reads: name, parameter (1 if it has none), limits."""
    parameter = 1.0 if how.parameter is None else how.parameter
    # not an f-string: torch.compile traces this, and must find a constant
    return " ".join([how.name, str(parameter), *[str(limit) for limit in how.limits]])


def from_text(text: str) -> Reducer:
    """Return the reducer that `to_text` was given."""
    name, *numbers = text.split(" ")
    parameter, low, high = map(float, numbers)
    match name:
        case "sum":
            return Sum()
        case "mean":
            return Mean()
        case "max":
            return Max()
        case "power":
            return Power(parameter, (low, high))
    return Softmax(parameter, semi_gradient=name == "softmax-semigrad")
