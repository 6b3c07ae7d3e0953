"""Grouped additive coupling: the layer that can be walked backwards."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from revgnn.stack.layer import AbstractReversibleLayer, Step, StepBack


class AdditiveCoupling(AbstractReversibleLayer):
    r"""A grouped reversible layer (Li et al. 2021, arXiv:2106.07476).

    $y_0 = x_2 + \dots + x_C$ and $y_i = x_i + f_i(y_{i-1})$ for $i = 1 \dots C$, inverted by $x_i = y_i - f_i(y_{i-1})$ for
    $i = C \dots 1$.

    Args:
        blocks: $f_1 \dots f_C$, C >= 2: modules that map (N, D / C) to (N, D / C), and may take further arguments.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if len(self.blocks) < 2:
            raise ValueError(
                f"a coupling needs at least 2 blocks, one for each group, got {len(self.blocks)}; for one block use Residual."
            )

    @property
    def groups(self) -> int:
        return len(self.blocks)

    def walk(self, state: list[Tensor], step: Step) -> list[Tensor]:
        y, out = _sum(state[1:]), []
        for i, x in enumerate(state):
            y = step(i, x, y)
            out.append(y)
        return out

    def walk_back(self, state: list[Tensor], grads: list[Tensor], step_back: StepBack) -> None:
        for i in reversed(range(self.groups)):
            y = state[i - 1] if i else _sum(state[1:])
            state[i], grad_y = step_back(i, state[i], y, grads[i])
            del y
            if grad_y is not None:
                for k in (i - 1,) if i else range(1, self.groups):
                    grads[k] = grads[k] + grad_y


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
