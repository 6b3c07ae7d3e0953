"""The divergence from a teacher: its definition, its gradient, and extreme logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from revgnn.train.config import DistillationConfig
from revgnn.train.tricks.distillation import divergence, mix_losses

M, OUTPUTS = 50, {"multiclass": 7, "binary": 1, "multilabel": 5}
TASKS = sorted(OUTPUTS)


def distillation(**values: object) -> DistillationConfig:
    return DistillationConfig.model_validate(values)


def pair(task: str, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    student, teacher = (scale * torch.randn(M, OUTPUTS[task]) for _ in range(2))
    return student.requires_grad_(), teacher


def by_definition(task: str, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Sum over all nodes of T^2 KL(p || q), in float64, from probabilities."""
    student, teacher = student.detach().double() / temperature, teacher.double() / temperature
    if task == "multiclass":
        p, q = teacher.softmax(1), student.softmax(1)
        return temperature**2 * (p * (p / q).log()).sum()
    p, q = teacher.sigmoid(), student.sigmoid()
    return temperature**2 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
@pytest.mark.parametrize("average", ["nodes", "entries"])
def test_the_definition(task: str, temperature: float, average: str) -> None:
    student, teacher = pair(task)
    count = M * OUTPUTS[task] if average == "entries" else M
    expected = by_definition(task, student, teacher, temperature) / count
    torch.testing.assert_close(
        divergence(task, student, teacher, distillation(temperature=temperature, average=average)).double(),
        expected,
        rtol=1e-5,
        atol=1e-7,
    )


def test_the_average_over_entries_is_the_default_of_torch() -> None:
    """As the authors' code has it: `KLDivLoss` with its default reduction, times T^2."""
    student, teacher = pair("multiclass")
    with pytest.warns(UserWarning, match="reduction"):
        theirs = 0.7**2 * torch.nn.KLDivLoss()((student / 0.7).log_softmax(1), (teacher / 0.7).softmax(1))
    torch.testing.assert_close(divergence("multiclass", student, teacher, distillation(temperature=0.7, average="entries")), theirs)


@pytest.mark.parametrize("task", TASKS)
def test_it_is_0_for_the_teacher_and_positive_for_others(task: str) -> None:
    student, teacher = pair(task)
    assert float(divergence(task, teacher.clone(), teacher, distillation())) == pytest.approx(0, abs=1e-6)
    assert float(divergence(task, student, teacher, distillation())) > 0.01


@pytest.mark.parametrize("task", TASKS)
def test_its_gradient_reduces_it_and_does_not_reach_the_teacher(task: str) -> None:
    student, teacher = pair(task)
    teacher.requires_grad_()
    before = divergence(task, student, teacher, distillation())
    before.backward()
    assert teacher.grad is None
    assert student.grad is not None
    after = divergence(task, student - 0.1 * student.grad, teacher, distillation())
    assert float(after) < float(before)


@pytest.mark.parametrize("task", TASKS)
def test_the_size_of_the_gradient_does_not_depend_on_a_high_temperature(task: str) -> None:
    """The factor T^2 is for this: the gradient of nearly uniform predictions stays the same if T doubles."""
    norms = []
    for temperature in (10.0, 20.0):
        torch.manual_seed(0)
        student, teacher = pair(task, scale=0.1)
        divergence(task, student, teacher, distillation(temperature=temperature)).backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


@pytest.mark.parametrize("task", TASKS)
def test_large_logits_give_finite_values(task: str) -> None:
    student = torch.full((M, OUTPUTS[task]), -200.0)
    student[:, 0] = 200.0
    student.requires_grad_()
    value = divergence(task, student, -student.detach(), distillation(temperature=0.5))
    value.backward()
    assert bool(value.isfinite())
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())


def test_the_mixture_of_losses() -> None:
    loss, kl = torch.tensor(2.0), torch.tensor(10.0)
    assert float(mix_losses(loss, kl, distillation(alpha=0.95))) == pytest.approx(0.05 * 2 + 0.95 * 10)
    assert torch.equal(mix_losses(loss, kl, distillation(alpha=0.0)), loss)
    assert torch.equal(mix_losses(loss, kl, distillation(alpha=1.0)), kl)
