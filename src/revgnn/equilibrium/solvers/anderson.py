"""Anderson acceleration."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from revgnn.equilibrium.solvers.base import AbstractIteration, Advance, inner_products


@dataclass(frozen=True)
class Anderson(AbstractIteration):
    r"""Anderson acceleration, type II (Walker & Ni 2011, doi:10.1137/10078356X), in differences.

    $\gamma = \arg\min_\gamma \lVert g_k - \Delta G_k \gamma \rVert^2 + \lambda \lVert D \gamma \rVert^2$,
    $z_{k+1} = z_k + \beta g_k - (\Delta Z_k + \beta \Delta G_k) \gamma$

    where the columns of $\Delta Z_k$ and $\Delta G_k$ are the last m changes of the iterate and of its residual, and D holds
    the lengths of the columns of $\Delta G_k$: the effect of the regularisation does not depend on the scale of the state or of
    the residual. Inner products are summed in float64.

    When a residual is not the smallest since the last restart, the older half of the history is dropped: far from a solution, old
    changes say little about how f changes now, and a full window of them can keep the iteration where it is.

    History: 2 m + 2 states.

    Attributes:
        window: m.
        mixing: $\beta$, above 0 and at most 1.
        regularisation: $\lambda$.
        restart: drop the history when the residual has grown to this many times the smallest one since the last restart.
    """

    window: int = 8
    mixing: float = 1.0
    regularisation: float = 1e-8
    restart: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1:
            raise ValueError(
                f"window must be 1 or more past iterates, got {self.window}; choose FixedPoint for an iteration without a history."
            )
        if not 0.0 < self.mixing <= 1.0:
            raise ValueError(f"mixing must be above 0 and at most 1, got {self.mixing}.")
        if not (math.isfinite(self.regularisation) and self.regularisation >= 0.0):
            raise ValueError(f"regularisation must be a finite number of 0 or more, got {self.regularisation}.")
        if not self.restart > 1.0:
            raise ValueError(f"restart must be above 1 (math.inf: never), got {self.restart}.")

    def iteration(self) -> Advance:
        return _Iteration(self)


class _Iteration:
    """The last iterate and residual, the changes in the window, and the Gram matrix of dG."""

    def __init__(self, solver: Anderson) -> None:
        self.solver = solver
        self.restart()

    def restart(self) -> None:
        m = self.solver.window
        self.last: tuple[Tensor, Tensor] | None = None
        self.dz: deque[Tensor] = deque(maxlen=m)
        self.dg: deque[Tensor] = deque(maxlen=m)
        self.gram = torch.zeros(0, 0, dtype=torch.float64)
        self.smallest = math.inf

    def __call__(self, z: Tensor, g: Tensor) -> Tensor:
        gap = float(self._products([g], g))
        if gap > self.solver.restart**2 * self.smallest:
            self.restart()
        stalled = gap > self.smallest
        self.smallest = min(self.smallest, gap)
        if self.last is not None:
            self._append(z - self.last[0], g - self.last[1])
        if stalled:
            self._keep_last(max(len(self.dg) // 2, 1))
        self.last = z, g
        beta = self.solver.mixing
        out = z.add(g, alpha=beta)
        for gamma, dz, dg in zip(self._weights(g), self.dz, self.dg, strict=True):
            out.sub_(dz, alpha=gamma).sub_(dg, alpha=gamma * beta)
        return out

    def _products(self, rows: list[Tensor], vector: Tensor) -> Tensor:
        return self.solver.totals.sums(inner_products(rows, vector))

    def _append(self, dz: Tensor, dg: Tensor) -> None:
        """Add a pair, drop the oldest one of a full window, and update the Gram matrix of dG by one row."""
        old = self.gram[1:, 1:] if len(self.dg) == self.solver.window else self.gram
        self.dz.append(dz)
        self.dg.append(dg)
        row = self._products(list(self.dg), dg).cpu()
        k = len(row)
        self.gram = torch.empty(k, k, dtype=torch.float64)
        self.gram[:-1, :-1] = old
        self.gram[-1] = self.gram[:, -1] = row

    def _keep_last(self, count: int) -> None:
        """Drop all pairs but the last `count`."""
        while len(self.dg) > count:
            self.dz.popleft()
            self.dg.popleft()
        self.gram = self.gram[-count:, -count:]

    def _weights(self, g: Tensor) -> list[float]:
        """Return gamma from the normal equations, in which every column of dG has length 1."""
        if not self.dg:
            return []
        length = self.gram.diagonal().sqrt()
        length = torch.where(length > 0, length, 1.0)
        matrix = self.gram / torch.outer(length, length)
        matrix.diagonal().add_(self.solver.regularisation)
        right = self._products(list(self.dg), g).cpu() / length
        return (torch.linalg.lstsq(matrix, right.unsqueeze(1), driver="gelsd").solution.squeeze(1) / length).tolist()
