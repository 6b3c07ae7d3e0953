"""A perceptron with one normalised hidden layer, fused."""

from revgnn.ops.perceptron.api import perceptron

__all__ = ["perceptron"]
