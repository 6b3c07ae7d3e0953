"""Networks for whole graphs: a network of any family for nodes, then a readout, then a linear map to logits."""

from __future__ import annotations

from torch import Tensor, nn

from revgnn.equilibrium import SolveStatistics
from revgnn.graph import Graph
from revgnn.models.base import AbstractModel, TrainingState
from revgnn.nn.readout import Readout


class GraphModel(AbstractModel):
    r"""Logits of graphs: $\mathrm{logits}_b = W\, \mathrm{Readout}_{i \in b}(\mathrm{Trunk}(x)_i) + b$.

    The trunk is a whole network of nodes: its own head maps to D channels instead of logits.

    In evaluation the logits of a graph do not depend, up to rounding, on the graphs beside it in a batch. An equilibrium is solved
    for all graphs of a batch at once, so that they agree up to the tolerance of the solver.

    Args:
        trunk: from N nodes to (N, D).
        readout: from (N, D) to (B, D).
        head: from D to T.
    """

    def __init__(self, trunk: AbstractModel, readout: Readout, head: nn.Linear) -> None:
        super().__init__()
        self.config = trunk.config
        self.trunk = trunk
        self.readout = readout
        self.head = head

    def forward(
        self,
        graph: Graph,
        x: Tensor | None,
        species: Tensor | None = None,
        *,
        nodes: Tensor | None = None,
        mask: Tensor | None = None,
        graphs: Tensor | None = None,
    ) -> Tensor:
        """Return the logits (B, T); see `AbstractModel`.

        Args:
            graphs: int64 (B + 1): nodes `graphs[b]` to `graphs[b + 1]` are those of graph b. Default: all nodes are one graph.
        """
        h = self.trunk(graph, x, species, nodes=nodes, mask=mask)
        self.auxiliary_loss = self.trunk.auxiliary_loss
        if graphs is None:
            graphs = graph.indptr.new_tensor([0, graph.num_nodes])
        return self.head(self.readout(h, graphs))

    # --- what training asks for: the trunk answers --------------------------------------------------------------------

    def take_solves(self) -> SolveStatistics | None:
        return self.trunk.take_solves()

    def training_state(self) -> TrainingState:
        return self.trunk.training_state()

    def restore_training_state(self, state: TrainingState) -> None:
        self.trunk.restore_training_state(state)

    def capture_obstacle(self) -> str | None:
        return "each step has other graphs; leave capture off."
