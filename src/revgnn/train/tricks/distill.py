"""How far a network's predictions are from its teacher's, as part of the loss (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from revgnn.train.config import DistillationConfig


def divergence(task: str, logits: Tensor, teacher: Tensor, how: DistillationConfig) -> Tensor:
    r"""$T^2\, \mathrm{KL}(p \,\|\, q)$, a scalar in float32, with $p$ of the teacher and $q$ of the student softened by T.

    Multiclass: $p, q = \mathrm{softmax}(\mathrm{logits} / T)$, and the sum runs over the classes. Binary, multilabel: each task is
    a coin of its own with $p, q = \sigma(\mathrm{logits} / T)$, and the sum runs over the tasks and both sides. The factor keeps
    the size of the gradient when T changes.

    Args:
        task: "multiclass", "binary" or "multilabel".
        logits, teacher: (M, outputs), any floating dtype; the teacher's are constants.
        how: T, and what is averaged over: the M nodes, or all M x outputs entries, which is less by the number of outputs.
    """
    student, teacher = logits.float() / how.temperature, teacher.detach().float() / how.temperature
    if task == "multiclass":
        total = F.kl_div(student.log_softmax(dim=1), teacher.log_softmax(dim=1), reduction="sum", log_target=True)
    else:
        # p log(p / q) + (1 - p) log((1 - p) / (1 - q)), from logarithms that neither over- nor underflow
        p = teacher.sigmoid()
        yes = p * (F.logsigmoid(teacher) - F.logsigmoid(student))
        no = (1 - p) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
        total = (yes + no).sum()
    count = student.numel() if how.average == "entries" else len(student)
    return how.temperature**2 * total / count


def distilled(loss: Tensor, divergence: Tensor, how: DistillationConfig) -> Tensor:
    """The loss of labels and the divergence from the teacher, in the shares `how.alpha` names."""
    return (1.0 - how.alpha) * loss + how.alpha * divergence
