"""A check, what it measured, and what is shown of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Measured(NamedTuple):
    """What a check found.

    Attributes:
        worst, allowed: for the table, such as "3.1e-07" and "6.0e-07".
        wrong: what is wrong, for people; empty if nothing is.
    """

    worst: str
    allowed: str
    wrong: str = ""


class Check(NamedTuple):
    """Something to verify.

    Attributes:
        name: short.
        compared: what with what, on which inputs.
        run: does it. What it raises counts as a failure.
        advice: what to do if it fails.
        claimed: whether revgnn promises it. Otherwise it is measured, and cannot fail.
        compiles: whether most of its time goes to compiling, the first time.
    """

    name: str
    compared: str
    run: Callable[[], Measured]
    advice: str
    claimed: bool = True
    compiles: bool = False


Status = Literal["ok", "FAILED", "not claimed"]


@dataclass(frozen=True)
class Finding:
    """A check that has run: a row of the table. `message` says what is wrong and what to do; it is empty if nothing is."""

    name: str
    compared: str
    worst: str
    allowed: str
    seconds: float
    status: Status
    message: str


class Differing:
    """Tensors that should have the same bits.

    Attributes:
        tensors: how many were compared.
        count: how many differ.
    """

    def __init__(self) -> None:
        self.tensors = self.count = 0
        self._first, self._worst = "", 0.0

    def compare(self, name: str, ours: Tensor | None, wanted: Tensor | None) -> None:
        self.tensors += 1
        if ours is None or wanted is None:
            if ours is not wanted:
                self._add(f"{name} is missing on one side", math.inf)
        elif (ours.dtype, ours.shape) != (wanted.dtype, wanted.shape):
            self._add(f"{name} is {ours.dtype} {tuple(ours.shape)}, not {wanted.dtype} {tuple(wanted.shape)}", math.inf)
        elif not torch.equal(ours, wanted):
            gap = float((ours.double() - wanted.double()).abs().nan_to_num(torch.inf, torch.inf).amax())
            self._add(f"{name} differs in {int((ours != wanted).sum())} of {ours.numel()} elements, by up to {gap:.3g}", gap)

    def compare_all(self, ours: dict[str, Tensor] | dict[str, Tensor | None], wanted: dict, where: str = "") -> None:
        assert ours.keys() == wanted.keys()
        for name in wanted:
            self.compare(f"{name}{where}", ours[name], wanted[name])

    def _add(self, text: str, gap: float) -> None:
        self._first = self._first or text
        self._worst = max(self._worst, gap)
        self.count += 1

    def measured(self) -> Measured:
        assert self.tensors, "nothing was compared"
        wrong = f"{self.count} of {self.tensors} tensors differ; the first: {self._first}." if self.count else ""
        return Measured(f"{self._worst:.1e}" if self.count else "0", "0", wrong)
