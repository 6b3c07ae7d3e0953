"""The layers of a stack: how the groups of the state pass through a layer, and how a reversible layer is undone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from revgnn.ops.dropout import draws_from_own

Step = Callable[[int, Tensor, Tensor], Tensor]
"""`step(i, x, y)` returns `x + f_i(y)` for block `f_i` of the layer."""

ReverseStep = Callable[[int, Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""`reverse_step(i, x_new, y, grad)` evaluates `f_i(y)` once. It returns `x = x_new - f_i(y)` and the gradient of `y`, or None if
there is none. `grad` is the gradient of `x_new`."""


class AbstractLayer(nn.Module, ABC):
    """A layer whose state is a list of groups, each (N, D / G), and whose blocks each add to one group.

    A stack calls `layer(state, step)`. Hooks of the layer see the state, and run in each forward pass; with `Checkpoint` also when
    the layer is evaluated again. `Reversible` calls `reverse` then, for which torch has no hooks.
    """

    blocks: nn.ModuleList

    @property
    @abstractmethod
    def groups(self) -> int:
        """The number of groups, G."""

    def forward(self, state: list[Tensor], step: Step) -> list[Tensor]:
        """Return the state after the layer. A stack calls its layers this way, so that their hooks run."""
        return self.advance(state, step)

    @abstractmethod
    def advance(self, state: list[Tensor], step: Step) -> list[Tensor]:
        """Return the state after the layer. Calls `step` once for each block; changes neither the list nor its tensors."""


class AbstractReversibleLayer(AbstractLayer):
    """A layer whose input can be computed from its output."""

    @abstractmethod
    def reverse(self, state: list[Tensor], grads: list[Tensor], reverse_step: ReverseStep) -> None:
        """Replace state and gradient after the layer by those before it.

        Calls `reverse_step` once for each block. The lists are changed group by group, so that no tensor is kept longer than
        needed; the tensors are not changed.
        """


@draws_from_own
class AdditiveCoupling(AbstractReversibleLayer):
    r"""A grouped reversible layer (Li et al. 2021, arXiv:2106.07476).

    $y_0 = x_2 + \ldots + x_G$ and $y_i = x_i + f_i(y_{i-1})$ for $i = 1 \ldots G$, inverted by $x_i = y_i - f_i(y_{i-1})$ for
    $i = G \ldots 1$.

    Args:
        blocks: $f_1 \ldots f_G$, G >= 2: modules from (N, D / G) to (N, D / G). They may take further arguments.
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

    def advance(self, state: list[Tensor], step: Step) -> list[Tensor]:
        y, out = _sum(state[1:]), []
        for i, x in enumerate(state):
            y = step(i, x, y)
            out.append(y)
        return out

    def reverse(self, state: list[Tensor], grads: list[Tensor], reverse_step: ReverseStep) -> None:
        for i in reversed(range(self.groups)):
            y = state[i - 1] if i else _sum(state[1:])
            state[i], grad_y = reverse_step(i, state[i], y, grads[i])
            del y
            if grad_y is not None:
                for k in (i - 1,) if i else range(1, self.groups):
                    grads[k] = grads[k] + grad_y


@draws_from_own
class Residual(AbstractLayer):
    r"""$h' = h + f(h)$ (He et al. 2016, arXiv:1603.05027; for graphs Li et al. 2020, arXiv:2006.07739, "res+").

    Args:
        block: $f$, a module from (N, D) to (N, D). It may take further arguments.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block])

    @property
    def groups(self) -> int:
        return 1

    def advance(self, state: list[Tensor], step: Step) -> list[Tensor]:
        (x,) = state
        return [step(0, x, x)]


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
