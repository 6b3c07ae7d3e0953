"""The networks of the paper on ogbn-arxiv and ogbn-products (arXiv:2106.07476), as configurations.

Parameters on ogbn-arxiv (128 features, 40 classes; RevGAT has the labels as 40 more inputs) and ogbn-products (100, 47):

| network | configuration | parameters | published |
|---|---|---|---|
| RevGAT | `revgat()` | 2,098,256 | 2,098,256 |
| RevGAT-Wide | `revgat(hidden=356)` | 3,879,056 | 3.88M |
| RevGAT of GIANT-XRT, 768 features (arXiv:2111.00064) | `revgat(depth=2)` | 1,304,912 | 1,304,912 |
| ResGAT | `revgat(groups=1)` | 3,867,728 | |
| ResGCN, RevGCN (RevGCN-Deep) | `arxiv("gcn")` | 491,176, 262,056 | the latter 262k |
| ResSAGE, RevSAGE | `arxiv("sage")` | 949,928, 491,432 | |
| ResGEN, RevGEN | `arxiv("gen")` | 491,176, 262,056 | the former 491k (DeeperGCN) |
| RevGNN-112 | `products()` | 2,945,007 | 2,945,007 |

The last column is as printed in a public source. Where it is empty none could be found, and depth and width are those of the
row of its kind that has one. The 5-layer RevGAT and RevGNN-112 are also confirmed by code that their authors published.
"""

from __future__ import annotations

from typing import Literal

from revgnn.models.config import ModelConfig, Norm


def revgat(*, hidden: int = 256, heads: int = 3, depth: int = 5, groups: int = 2) -> ModelConfig:
    """RevGAT, as the authors' code trains it: no destination term, symmetric normalisation, heavy dropout.

    Args:
        hidden: channels of a head; 356 for RevGAT-Wide.
        groups: 1 for ResGAT.
    """
    return ModelConfig(
        family="revgat",
        depth=depth,
        channels=heads * hidden,
        heads=heads,
        groups=groups,
        norm="batch",
        dropout=0.75,
        input_dropout=0.25,
        edge_dropout=0.3,
        destination=False,
        symmetric=True,
        residual_map=True,
    )


def arxiv(conv: Literal["gcn", "sage", "gen"], *, family: Literal["residual", "reversible"] = "reversible") -> ModelConfig:
    """28 layers of 128 channels with batch norm: RevGCN, RevSAGE, RevGEN, and ResGCN, ResSAGE, ResGEN.

    As DeeperGCN on this set (arXiv:2006.07739), GEN aggregates by softmax of temperature 0.1 and has one linear layer after it.
    """
    return ModelConfig(
        family=family,
        conv=conv,
        depth=28,
        channels=128,
        groups=2 if family == "reversible" else 1,
        norm="batch",
        dropout=0.5,
        aggregation="softmax-semigrad" if conv == "gen" else "mean",
        aggregation_init=0.1 if conv == "gen" else 1.0,
        mlp_layers=1 if conv == "gen" else 2,
    )


def products(*, depth: int = 112, norm: Norm = "batch") -> ModelConfig:
    """RevGNN-112: SAGE with 160 channels in 2 groups; 7 layers do nearly as well.

    Here with batch norm, as the paper's other networks on this set; the example that its first author gave to PyTorch Geometric
    has `norm="layer"`, and as many parameters.
    """
    return ModelConfig(conv="sage", depth=depth, channels=160, groups=2, norm=norm, dropout=0.5, aggregation="mean")
