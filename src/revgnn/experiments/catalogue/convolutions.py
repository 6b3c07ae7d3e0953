"""The networks that the paper compares on ogbn-arxiv and ogbn-products: residual and reversible, of four convolutions."""

from __future__ import annotations

from typing import Literal

from revgnn.models.config import Conv, ModelConfig


def compared_model(family: Literal["residual", "reversible"], conv: Conv, *, depth: int, heads: int = 1) -> ModelConfig:
    """Return a network of 128 channels with batch norm and one dropout mask of rate 0.5.

    GEN is as in DeeperGCN (arXiv:2006.07739): it aggregates by a softmax of temperature 0.1 whose weights are constants to the
    gradient, followed by one linear layer.
    """
    is_gen = conv == "gen"
    return ModelConfig(
        family=family,
        conv=conv,
        depth=depth,
        channels=128,
        groups=2 if family == "reversible" else 1,
        heads=heads,
        norm="batch",
        dropout=0.5,
        aggregation="softmax-semigrad" if is_gen else "mean",
        aggregation_init=0.1 if is_gen else 1.0,
        mlp_layers=1 if is_gen else 2,
    )
