"""The loss of a student: its own loss mixed with the divergence from its teacher (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from torch import Tensor

from revgnn.data.tasks import AbstractTask, as_task
from revgnn.train.config import DistillationConfig


def divergence(task: AbstractTask | str, logits: Tensor, teacher: Tensor, config: DistillationConfig) -> Tensor:
    r"""Return $T^2\, \mathrm{KL}(p \,\|\, q)$, a scalar in float32; $p$ is the teacher's and $q$ the student's prediction.

    Multiclass: $p, q = \mathrm{softmax}(\mathrm{logits} / T)$, summed over the classes. Binary and multilabel: each task is a
    Bernoulli distribution with $p, q = \sigma(\mathrm{logits} / T)$, summed over the tasks and both outcomes. The factor $T^2$
    keeps the size of the gradient when T changes.

    Args:
        task: a task or its name.
        logits: the student's, (M, outputs), any floating dtype.
        teacher: the teacher's logits, (M, outputs). They get no gradient.
        config: T, and what the sum is divided by: the M nodes, or the M x outputs entries.
    """
    student, teacher = logits.float() / config.temperature, teacher.detach().float() / config.temperature
    total = as_task(task).divergence(student, teacher)
    count = student.numel() if config.average == "entries" else len(student)
    return config.temperature**2 * total / count


def mix_losses(loss: Tensor, divergence: Tensor, config: DistillationConfig) -> Tensor:
    """Return (1 - alpha) * loss + alpha * divergence."""
    return (1.0 - config.alpha) * loss + config.alpha * divergence
