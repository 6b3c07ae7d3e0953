"""How strongly a step reacts to its state: a penalty that keeps equilibria easy to solve for."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from revgnn.equilibrium.solvers import WHOLE, Step, Totals
from revgnn.equilibrium.unroll import repeatable
from revgnn.ops.dropout import normal_like
from revgnn.stack.execution import Conditions


def jacobian_penalty(step: Step, z: Tensor, *, probes: int = 1, totals: Totals = WHOLE) -> Tensor:
    r"""Estimate $\lVert J \rVert_F^2 / n$, the mean squared singular value of $J = \partial f / \partial z$ (Bai et al. 2021,
    arXiv:2106.14342).

    The estimate is differentiable with respect to what f depends on. It is Hutchinson's estimator
    $\mathbb{E}\, \lVert J \epsilon \rVert^2$ with $\epsilon \sim N(0, I)$. $J \epsilon$ is a forward difference of two evaluations,
    $(f(z + h \epsilon) - f(z)) / h$, so f needs no second derivatives. h is the square root of the dtype's precision times the root
    mean square of z, where truncation and rounding are about equal. If f has no kink between the two evaluations, the difference is
    exact to about three digits in float32. Autocast is off inside.

    Args:
        step: f.
        z: the state, of n elements; taken as a constant.
        probes: number of draws of epsilon. Each takes one more evaluation.
        totals: how sums over the state are taken. The result is the mean over the piece of the state that `z` is.

    Returns:
        A scalar in the dtype of `z`. Memory: probes + 1 evaluations of f.
    """
    if probes < 1:
        raise ValueError(f"probes must be 1 or more, got {probes}.")
    z = z.detach()
    # The rounding of autocast is larger than so small a difference.
    conditions = replace(Conditions.now(z.device), autocast=None)
    draws = [normal_like(z) for _ in range(probes)]
    h = torch.finfo(z.dtype).eps ** 0.5 * totals.root_mean_square(z).clamp_min(1e-3)
    with conditions.around_pass():
        evaluate = repeatable(step, conditions)
        f = evaluate(z)
        squares = [((evaluate(z + h * epsilon) - f) / h).square().mean() for epsilon in draws]
    return torch.stack(squares).mean()
