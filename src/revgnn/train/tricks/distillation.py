"""The loss of a student: its own loss mixed with the divergence from its teacher (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from revgnn.train.config import DistillationConfig


def divergence(task: str, logits: Tensor, teacher: Tensor, config: DistillationConfig) -> Tensor:
    r"""Return $T^2\, \mathrm{KL}(p \,\|\, q)$, a scalar in float32; $p$ is the teacher's and $q$ the student's prediction.

    Multiclass: $p, q = \mathrm{softmax}(\mathrm{logits} / T)$, summed over the classes. Binary and multilabel: each task is a
    Bernoulli distribution with $p, q = \sigma(\mathrm{logits} / T)$, summed over the tasks and both outcomes. The factor $T^2$
    keeps the size of the gradient when T changes.

    Args:
        task: "multiclass", "binary" or "multilabel".
        logits: the student's, (M, outputs), any floating dtype.
        teacher: the teacher's logits, (M, outputs). They get no gradient.
        config: T, and what the sum is divided by: the M nodes, or the M x outputs entries.
    """
    student, teacher = logits.float() / config.temperature, teacher.detach().float() / config.temperature
    if task == "multiclass":
        total = F.kl_div(student.log_softmax(dim=1), teacher.log_softmax(dim=1), reduction="sum", log_target=True)
    else:
        # p log(p / q) + (1 - p) log((1 - p) / (1 - q)), with logarithms that neither overflow nor underflow
        p = teacher.sigmoid()
        positive = p * (F.logsigmoid(teacher) - F.logsigmoid(student))
        negative = (1 - p) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
        total = (positive + negative).sum()
    count = student.numel() if config.average == "entries" else len(student)
    return config.temperature**2 * total / count


def mix_losses(loss: Tensor, divergence: Tensor, config: DistillationConfig) -> Tensor:
    """Return (1 - alpha) * loss + alpha * divergence."""
    return (1.0 - config.alpha) * loss + config.alpha * divergence
