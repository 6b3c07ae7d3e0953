"""Mixed precision: training, resuming, and gradients that are not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from revgnn.data.tasks import Multilabel
from revgnn.train.config import RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.predict import predict_run
from revgnn.train.inference.saved_run import LoadOptions
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.optimization import Diverged, LossScaler
from revgnn.train.run.session import Session, prepare, training_step
from revgnn.train.run.tensor_file import read_tensors
from tests.train.test_resume import assert_same_run

CPU = torch.device("cpu")
AMP = ("bf16", "fp16")


def replace_gradient(session: Session, value: float, *, when: list[bool]) -> None:
    """Replace a gradient of the network by `value` in each step in which the last entry of `when` is True."""
    weight = session.model.get_parameter("head.weight")
    weight.register_hook(lambda grad: torch.full_like(grad, value) if when[-1] else grad)


def snapshot(session: Session) -> list[Tensor]:
    moments = [t.clone() for state in session.optimizer.state.values() for t in state.values()]
    return [*(t.detach().clone() for t in session.model.state_dict().values()), *moments]


def take_step(
    scaler: LossScaler,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    auxiliary: Tensor | None = None,
    clip_norm: float | None = None,
) -> float:
    return scaler.update(model, optimizer, loss, scaler.differentiate(loss, auxiliary), clip_norm)


def assert_same(before: list[Tensor], after: list[Tensor]) -> None:
    assert len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# --- runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amp", AMP)
def test_a_run_learns(config: RunConfig, tmp_path: Path, amp: str) -> None:
    short = ["epochs=25", "model.dropout=0", "model.norm=layer", "evaluation.every=25", f"amp={amp}", f"evaluation.amp={amp}"]
    result = train(config.override(short), tmp_path / "a")
    lines = RunFolder(tmp_path / "a").metrics()
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert ("skipped_steps" in lines[0]) == (amp == "fp16")
    assert (result.skipped_steps is not None) == (amp == "fp16")
    assert (result.skipped_steps or 0) < 10  # of 75: the scale starts high and is halved at each overflow


@pytest.mark.parametrize("amp", AMP)
def test_a_run_resumes_bit_for_bit(config: RunConfig, tmp_path: Path, amp: str) -> None:
    config = config.override([f"amp={amp}", "epochs=3"])
    train(config, tmp_path / "unbroken")
    steps: list[Event] = []
    hook = lambda event: steps.append(event) if isinstance(event, Stepped) else None  # noqa: E731
    with pytest.raises(Interrupted):
        train(config, tmp_path / "a", hooks=[hook], should_stop=lambda: len(steps) == config.parts + 2)
    torch.manual_seed(1234)
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "unbroken")


def test_a_run_that_overflows_resumes_bit_for_bit(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is multiplied so that scaled gradients overflow float16 until the scale is smaller."""
    loss = Multilabel.loss
    monkeypatch.setattr(Multilabel, "loss", lambda *args: 2000.0 * loss(*args))
    config = config.override(["amp=fp16", "epochs=3"])
    result = train(config, tmp_path / "unbroken")
    lines = RunFolder(tmp_path / "unbroken").metrics()
    assert result.skipped_steps == sum(line["skipped_steps"] for line in lines) > 0
    steps: list[Event] = []
    hook = lambda event: steps.append(event) if isinstance(event, Stepped) else None  # noqa: E731
    with pytest.raises(Interrupted):
        train(config, tmp_path / "a", hooks=[hook], should_stop=lambda: len(steps) == 2)
    _, note = read_tensors(tmp_path / "a" / "last.safetensors")
    assert note["scaler"]["skipped"] == 2
    assert note["scaler"]["scale"] == 65536 / 4
    train(config, tmp_path / "a", resume=True)
    # The peak memory of an interrupted first epoch may differ, since it is measured in two parts.
    for name in ("best.safetensors", "last.safetensors"):
        tensors, expected = (read_tensors(tmp_path / run / name)[0] for run in ("a", "unbroken"))
        assert all(torch.equal(tensors[key], tensor) for key, tensor in expected.items())
    assert [line["skipped_steps"] for line in RunFolder(tmp_path / "a").metrics()] == [line["skipped_steps"] for line in lines]


@pytest.mark.parametrize("amp", AMP)
def test_evaluation_in_another_precision(config: RunConfig, tmp_path: Path, amp: str) -> None:
    train(config.override(["epochs=1"]), tmp_path / "a")
    own, other = evaluate_run(tmp_path / "a"), evaluate_run(tmp_path / "a", LoadOptions(amp=amp))
    assert other["test"] == pytest.approx(own["test"], abs=0.05)
    report = predict_run(tmp_path / "a", tmp_path / "p.npz", LoadOptions(amp=amp))
    assert report["amp"] == amp
    assert "peak_bytes" not in own
    with pytest.raises(ValueError, match=r"evaluation\.amp"):
        evaluate_run(tmp_path / "a", LoadOptions(amp="int8"))


# --- gradients that are not finite ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_an_overflowing_step_is_skipped(config: RunConfig, value: float, clip_norm: float | None) -> None:
    session = prepare(config.replace({"amp": "fp16", "optim.clip_norm": clip_norm}))
    when = [False]
    replace_gradient(session, value, when=when)
    training_step(session, session.batches.whole)
    before = snapshot(session)
    running = {name for name, _ in session.model.named_buffers()}
    keep = [not any(name == b for b in running) for name in session.model.state_dict()]
    when.append(True)
    assert math.isfinite(training_step(session, session.batches.whole))
    after = snapshot(session)
    moved = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if not torch.equal(a, b)]
    assert all(n < len(keep) and not keep[n] for n in moved)  # only batch statistics, updated in the forward pass
    assert session.scaler.skipped == 1
    assert session.scaler.state_dict()["scale"] == 65536 / 2
    when.append(False)
    training_step(session, session.batches.whole)
    assert not torch.equal(before[0], snapshot(session)[0])
    assert session.scaler.take_skipped() == 1
    assert session.scaler.take_skipped() == 0


def test_a_skipped_step_does_not_change_the_next_one(config: RunConfig) -> None:
    """The scale is a power of two. Halving it changes no bit of gradients that are normal numbers."""
    config = config.override(["amp=fp16", "model.norm=layer", "model.dropout=0"])
    weights = []
    for skip in (False, True):
        session = prepare(config)
        when = [skip]
        replace_gradient(session, math.inf, when=when)
        if skip:
            training_step(session, session.batches.whole)
        when.append(False)
        training_step(session, session.batches.whole)
        weights.append(torch.cat([p.detach().flatten() for p in session.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_gradients_that_are_never_finite_end_the_run(config: RunConfig, clip_norm: float | None) -> None:
    session = prepare(config.replace({"amp": "fp16", "optim.clip_norm": clip_norm, "model.norm": "layer"}))
    replace_gradient(session, math.nan, when=[True])
    before = snapshot(session)
    for _ in range(16):  # 65536 = 2^16
        training_step(session, session.batches.whole)
    with pytest.raises(Diverged, match="not finite at any scale of the loss; the last tried was 1"):
        training_step(session, session.batches.whole)
    assert_same(before, snapshot(session))


def test_the_error_of_such_a_run_gives_advice(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = Multilabel.loss

    def broken(task: Multilabel, logits: Tensor, *args: Any) -> Tensor:
        """Return a finite loss with an infinite slope."""
        return loss(task, logits, *args) + (logits - logits.detach()).abs().sum().sqrt()

    monkeypatch.setattr(Multilabel, "loss", broken)
    with pytest.raises(Diverged, match=r"training diverged in epoch 6, step 2: gradients are not finite .* amp=none"):
        train(config.override(["amp=fp16", "epochs=50"]), tmp_path / "a")
    with pytest.raises(Diverged, match=r"training diverged in epoch 1, step 1: the norm of the gradient is nan, though the loss"):
        train(config.override(["amp=none"]), tmp_path / "b")


@pytest.mark.parametrize("amp", ["none", "bf16"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_without_a_scale_such_a_gradient_is_an_error(config: RunConfig, amp: str, value: float, clip_norm: float | None) -> None:
    session = prepare(config.replace({"amp": amp, "optim.clip_norm": clip_norm, "model.norm": "layer"}))
    when = [False]
    replace_gradient(session, value, when=when)
    training_step(session, session.batches.whole)
    before = snapshot(session)
    when.append(True)
    with pytest.raises(Diverged, match=r"norm of the gradient is (inf|nan), though the loss is \d"):
        training_step(session, session.batches.whole)
    assert_same(before, snapshot(session))


# --- the scaler by itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amp", ["none", *AMP])
@pytest.mark.parametrize("clip_norm", [0.5, None])
def test_a_step_equals_the_optimisers(amp: str, clip_norm: float | None) -> None:
    """Scaling by a power of two and back changes nothing in float32."""
    torch.manual_seed(0)
    model, reference = nn.Linear(3, 2), nn.Linear(3, 2)
    reference.load_state_dict(model.state_dict())
    x = torch.randn(5, 3)
    optimizer, plain = (torch.optim.Adam(m.parameters(), lr=0.1, fused=True) for m in (model, reference))
    scaler = LossScaler(CPU, amp)
    for _ in range(3):
        optimizer.zero_grad()
        plain.zero_grad()
        value = take_step(scaler, model, optimizer, model(x).square().mean(), model(x).mean(), clip_norm)
        loss = reference(x).square().mean()
        assert value == loss.item()
        (loss + reference(x).mean()).backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(reference.parameters(), clip_norm)
        plain.step()
        assert torch.equal(model.weight, reference.weight)


def test_a_loss_that_is_not_finite_is_reported() -> None:
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    for amp in ("none", *AMP):
        scaler = LossScaler(CPU, amp)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        loss = (model(torch.ones(1, 3)).square().sum() + 1.0) * math.inf
        with pytest.raises(Diverged, match="the loss is inf"):
            take_step(scaler, model, optimizer, loss, clip_norm=1.0)
    assert torch.equal(model.weight, before)


def test_the_state_can_be_restored() -> None:
    scaler = LossScaler(CPU, "fp16")
    model = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    take_step(scaler, model, optimizer, model(torch.ones(1, 1)).sum())
    take_step(scaler, model, optimizer, model(torch.full((1, 1), 1e37)).sum())
    other = LossScaler(CPU, "fp16")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    assert (other.skipped, other.state_dict()["scale"]) == (1, 32768.0)
    assert LossScaler(CPU, "bf16").state_dict() == {}
    assert LossScaler(CPU, "none").take_skipped() is None


# --- other families -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amp", AMP)
@pytest.mark.parametrize("family", ["tied=true", "family=residual", pytest.param("family=equilibrium", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*was not solved")
def test_every_family_resumes_bit_for_bit(config: RunConfig, tmp_path: Path, amp: str, family: str) -> None:
    config = config.override(
        [
            f"amp={amp}",
            f"evaluation.amp={amp}",
            f"model.{family}",
            "model.depth=4",
            "model.norm=layer",
            "epochs=2",
            "evaluation.views=1",
        ]
    )
    train(config.override(["epochs=1"]), tmp_path / "a")
    train(config, tmp_path / "a", resume=True)
    train(config, tmp_path / "unbroken")
    assert_same_run(tmp_path / "a", tmp_path / "unbroken")
    assert all(math.isfinite(line["loss"]) for line in RunFolder(tmp_path / "a").metrics())
