"""The residual layer, for stacks that store or checkpoint."""

from __future__ import annotations

from torch import Tensor, nn

from revgnn.stack.layer import AbstractLayer, Step


class Residual(AbstractLayer):
    r"""$h' = h + f(h)$ (He et al. 2016, arXiv:1603.05027; for graphs Li et al. 2020, arXiv:2006.07739, "res+").

    Args:
        block: $f$: a module that maps (N, D) to (N, D), and may take further arguments.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block])

    @property
    def groups(self) -> int:
        return 1

    def walk(self, state: list[Tensor], step: Step) -> list[Tensor]:
        (x,) = state
        return [step(0, x, x)]
