"""How the messages that reach a node become one: the values that `aggregate` takes as `how`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sum:
    r"""$\sum_j m_{ij}$"""

    def __str__(self) -> str:
        return "sum"


@dataclass(frozen=True)
class Mean:
    r"""$\frac{1}{|N(i)|} \sum_j m_{ij}$"""

    def __str__(self) -> str:
        return "mean"


@dataclass(frozen=True)
class Max:
    r"""$\max_j m_{ij}$, channel by channel. Of equal messages the first edge wins, and gets the gradient."""

    def __str__(self) -> str:
        return "max"


@dataclass(frozen=True, eq=False)
class Softmax:
    r"""$\sum_j \mathrm{softmax}_j(t\, m_{ij})\, m_{ij}$, channel by channel (Li et al. 2020, arXiv:2006.07739).

    Attributes:
        t: temperature: a number, or a tensor of one element to learn it.
        semi_gradient: treat the softmax weights as constants in the backward pass, as the authors' code does where the
            temperature is fixed; a learned `t` then gets no gradient.
    """

    t: float | Tensor = 1.0
    semi_gradient: bool = False

    def __str__(self) -> str:
        return "softmax-semigrad" if self.semi_gradient else "softmax"


@dataclass(frozen=True, eq=False)
class Power:
    r"""$\left(\frac{1}{|N(i)|} \sum_j m_{ij}^p\right)^{1/p}$ (Li et al. 2020, arXiv:2006.07739).

    Attributes:
        p: exponent, not 0: a number, or a tensor of one element to learn it.
        clamp: limits that messages are clamped to first, or None. The authors' code uses (1e-7, 10).
    """

    p: float | Tensor = 1.0
    clamp: tuple[float, float] | None = None

    def __str__(self) -> str:
        return "power"


Reducer = Sum | Mean | Max | Softmax | Power
