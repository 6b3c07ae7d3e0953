"""Networks whose logits are not those of nodes: a network of any family, then a head for graphs or for pairs of nodes."""

from __future__ import annotations

from torch import Tensor, nn

from revgnn.equilibrium import SolveStatistics
from revgnn.graph import Graph
from revgnn.models.base import AbstractModel, TrainingState
from revgnn.nn.readout import Readout


class GraphHead(nn.Module):
    r"""Logits of graphs: $\mathrm{logits}_b = W\, \mathrm{Readout}_{i \in b}(h_i) + b$.

    Args:
        readout: from (N, D) to (B, D).
        linear: from D to T.
    """

    def __init__(self, readout: Readout, linear: nn.Linear) -> None:
        super().__init__()
        self.readout = readout
        self.linear = linear

    def forward(self, h: Tensor, indptr: Tensor | None) -> Tensor:
        """Return (B, T). Nodes `indptr[b]` to `indptr[b + 1]` are those of graph b; None: all nodes are one graph."""
        if indptr is None:
            indptr = h.new_tensor([0, len(h)]).long()
        return self.linear(self.readout(h, indptr))


class TargetModel(AbstractModel):
    """A trunk and a head. The trunk is a whole network of nodes: its own head maps to D channels instead of logits.

    In evaluation the logits of a graph do not depend, up to rounding, on the graphs beside it in a batch. An equilibrium is solved
    for all graphs of a batch at once, so that they agree up to the tolerance of the solver.

    Args:
        trunk: from N nodes to (N, D).
        head: `GraphHead` or `PairDecoder`.
    """

    def __init__(self, trunk: AbstractModel, head: nn.Module) -> None:
        super().__init__()
        self.config = trunk.config
        self.trunk = trunk
        self.head = head

    def forward(
        self,
        graph: Graph,
        x: Tensor | None,
        species: Tensor | None = None,
        *,
        nodes: Tensor | None = None,
        mask: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Return the logits; see `AbstractModel`.

        Args:
            targets: int64, what the logits are those of: where the nodes of each graph begin and end, (B + 1); or the two nodes of
                each pair, (2, P).
        """
        h = self.trunk(graph, x, species, nodes=nodes, mask=mask)
        self.auxiliary_loss = self.trunk.auxiliary_loss
        return self.head(h, targets)

    # --- what training asks for: the trunk answers --------------------------------------------------------------------

    def take_solves(self) -> SolveStatistics | None:
        return self.trunk.take_solves()

    def training_state(self) -> TrainingState:
        return self.trunk.training_state()

    def restore_training_state(self, state: TrainingState) -> None:
        self.trunk.restore_training_state(state)

    def capture_obstacle(self) -> str | None:
        return "each step has other graphs or pairs; leave capture off."
