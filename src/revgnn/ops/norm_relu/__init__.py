"""Layer norm, ReLU and a dropout mask in one pass."""

from revgnn.ops.norm_relu.api import norm_relu

__all__ = ["norm_relu"]
