"""The paper's block: norm, ReLU, dropout, generalised aggregation."""

from __future__ import annotations

from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.fusion import has_hooks, is_layer_norm_of, perceptron_tensors
from revgnn.nn.gen import EdgeEncoding, EdgeMap, GENConv
from revgnn.nn.neighbours import Adjacency, Neighbours, neighbours
from revgnn.nn.norm import NormKind, make_norm, normalise_and_activate, width_of_input
from revgnn.ops import gen_block
from revgnn.ops.dropout import draws_from_own, dropout


@draws_from_own
class GENBlock(nn.Module):
    r"""$\mathrm{GENConv}(\mathrm{Dropout}(\mathrm{ReLU}(\mathrm{Norm}(x))))$, the block of RevGNN and ResGNN (Li et al. 2021,
    arXiv:2106.07476).

    Max aggregation with layer norm, the paper's choice, runs as one node of the autograd graph: the same kernels and the
    same bits as the operators one by one, without what it costs to pass from one to the next.

    Args:
        conv: the convolution.
        norm: "layer", "batch", "none", or a module.
        dropout: rate of dropout drawn anew for this block; ignored in a call that brings a `mask`.
    """

    def __init__(self, conv: GENConv, norm: NormKind | nn.Module = "layer", *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = norm if isinstance(norm, nn.Module) else make_norm(norm, width_of_input(conv))
        self.activation = nn.ReLU()
        self.dropout = dropout
        self.conv = conv

    def forward(
        self, x: Tensor, graph: Adjacency, edge_attr: Tensor | EdgeEncoding | None = None, *, mask: Tensor | None = None
    ) -> Tensor:
        """Map (N, in_channels) to (N, out_channels).

        Args:
            x: (N, in_channels).
            graph: the edges, see `AbstractConv`.
            edge_attr: edge features (E, K), an `EdgeEncoding`, or None.
            mask: (N, in_channels), the factors of a dropout mask that all layers share (see `shared_dropout_mask`), or None.
        """
        given = Neighbours(graph, x.shape[0], graph) if isinstance(graph, Graph) else neighbours(graph, x.shape[0])
        edges = self.conv.edge_map(given, edge_attr)
        fused = self._fused_inputs(x, given.graph, edges, mask)
        if fused is not None:
            return gen_block.gen_block(fused, given.graph)
        h = normalise_and_activate(self.norm, self.activation, x, mask)
        if mask is None and self.dropout:
            h = dropout(h, self.dropout, self.training)
        return self.conv(h, given.graph, edges)

    def _fused_inputs(self, x: Tensor, graph: Graph, edges: EdgeMap | None, mask: Tensor | None) -> gen_block.Block | None:
        """Return what the fast path is called with, or None if norm, activation, convolution and MLP must run one by one."""
        norm, conv = self.norm, self.conv
        mlp = perceptron_tensors(conv.mlp, x)
        draws_own_mask = mask is None and self.dropout > 0.0 and self.training
        if mlp is None or conv.aggregation != "max" or conv.scale is not None or draws_own_mask:
            return None
        if conv.lin_src is not None or conv.lin_dst is not None or (edges is not None and edges.bias is None):
            return None
        if not is_layer_norm_of(norm, x) or has_hooks(norm, self.activation, conv):
            return None
        attr, weight, bias = (None, None, None) if edges is None else edges
        block = gen_block.Block(x, norm.weight, norm.bias, norm.eps, mask, attr, weight, bias, *mlp, conv.eps)
        return block if gen_block.fits(block, graph) else None

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"
