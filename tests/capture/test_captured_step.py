"""A step that is to be recorded reads nothing on the host, seeds nothing, and computes what the ordinary step does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from revgnn import shared_dropout_mask
from revgnn.capture import CapturedStep
from revgnn.capture import captured_step as module
from revgnn.capture.host_reads import NoHostReads
from revgnn.nn import GATConv, GENConv, PreActivation
from revgnn.stack import (
    Backprop,
    CaptureError,
    Checkpoint,
    PerGroup,
    ResidualStack,
    Reversible,
    ReversibleStack,
    Stack,
    StateRangeError,
)
from revgnn.stack.recordable import recordable, refuse_recording
from tests.stack.conftest import gen_stack
from tests.stack.test_safety import Grow

STRATEGIES = [Backprop(), Reversible(), Reversible(segments=2), Checkpoint(), Checkpoint(every=3)]
ids = {"ids": str}


class Sealed:
    """A generator that can be drawn from and looked at, and neither seeded nor, unless allowed, set."""

    def __init__(self, generator: torch.Generator, *, may_go_back: bool) -> None:
        self.get_state = generator.get_state
        self.went_back = 0
        self._generator, self._may_go_back = generator, may_go_back

    def manual_seed(self, seed: int) -> None:
        raise AssertionError("a generator is seeded within a step that is to be recorded")

    def set_state(self, state: Tensor) -> None:
        assert self._may_go_back, "a generator is set though no block draws"
        self.went_back += 1
        self._generator.set_state(state)


@pytest.fixture
def unseeded(monkeypatch: pytest.MonkeyPatch):
    """What an ordinary step computes if its stacks draw no seed, so that what else is drawn is what a recorded step draws."""

    def run(step: Callable[..., Any], *inputs: Tensor) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor(5))
            return step(*inputs)

    return run


def make_step(stack: nn.Module, graph: Any, *, dropout: float = 0.0, groups: int = 2, **kwargs: Any) -> CapturedStep:
    """Mask, stack, loss, backward, clipping; returns the loss, the state and the norm."""

    def step(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if dropout:
            shape = (x.shape[0], x.shape[1] // groups)
            kwargs["mask"] = PerGroup([shared_dropout_mask(shape, dropout, x.device) for _ in range(groups)])
        h = stack(x, graph, **kwargs)
        loss = F.mse_loss(F.dropout(h, 0.2), y)
        loss.backward()
        return loss, h, nn.utils.clip_grad_norm_(stack.parameters(), 1.0)

    return CapturedStep(step, stack)


def results(stack: nn.Module, outputs: Any) -> list[Tensor]:
    """All that a step leaves, buffers and the next random number included."""
    grads = [p.grad.clone() for p in stack.parameters() if p.grad is not None]
    return [*(t.clone() for t in outputs), *grads, *(b.clone() for b in stack.buffers()), torch.rand(1)]


def assert_same(mine: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(mine) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(60, 16), torch.randn(60, 16)


@pytest.mark.parametrize("strategy", STRATEGIES, **ids)
@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("state", ["grid", "float64", "plain"])
def test_a_rehearsal_is_the_ordinary_step(strategy, norm, state, data, random_graph, unseeded, monkeypatch) -> None:
    """Values, gradients, statistics and what is drawn next, bit for bit; nothing is read, seeded, or taken back."""
    found = []
    for rehearsed in (False, True):
        stack = gen_stack(6, 2, 8, norm=norm, gradient=strategy, state=state)
        step = make_step(stack, random_graph, dropout=0.3)
        torch.manual_seed(1)
        if rehearsed:
            with monkeypatch.context() as patch:
                patch.setattr(torch, "default_generator", Sealed(torch.default_generator, may_go_back=False))
                outputs = step.rehearse(*data)
        else:
            outputs = unseeded(step, *data)
        assert all(not out.requires_grad for out in outputs)
        found.append(results(stack, outputs))
    assert_same(*found)


@pytest.mark.parametrize("strategy", STRATEGIES[1:], **ids)
def test_blocks_that_draw_their_own_numbers_are_handled_exactly(strategy, data, random_graph, monkeypatch) -> None:
    """The second evaluation draws what the first one drew, by going back and not by a seed; gradients are Backprop's."""
    found = []
    for gradient in (Backprop(), strategy):
        stack = gen_stack(6, 2, 8, dropout=0.3, gradient=gradient)
        torch.manual_seed(1)
        with monkeypatch.context() as patch:
            sealed = Sealed(torch.default_generator, may_go_back=True)
            patch.setattr(torch, "default_generator", sealed)
            outputs = make_step(stack, random_graph).rehearse(*data)
        assert (sealed.went_back > 0) == gradient.recomputes
        found.append(results(stack, outputs))
    assert_same(*found)
    assert make_step(gen_stack(6, 2, 8, dropout=0.3), random_graph).rehearse(*data)[0] != found[0][0]


def test_attention_dropout_too(data, random_graph) -> None:
    found = []
    for gradient in (Backprop(), Reversible()):
        torch.manual_seed(0)
        conv = lambda: GATConv(8, 4, heads=2, dropout=0.3, edge_dropout=0.2)  # noqa: E731
        stack = ReversibleStack([[PreActivation(conv(), dropout=0.1) for _ in range(2)] for _ in range(4)], gradient=gradient)
        found.append(results(stack, make_step(stack, random_graph).rehearse(*data)))
    assert_same(*found)


@pytest.mark.parametrize("strategy", [Reversible(), Checkpoint()], **ids)
def test_numbers_that_blocks_drew_are_not_drawn_again_by_others(strategy) -> None:
    drawn = []

    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, y: Tensor) -> Tensor:
            drawn.append(torch.rand(4))
            return y * self.scale * drawn[-1].mean()

    stack = ReversibleStack([[Noise(), Noise()] for _ in range(3)], gradient=strategy)

    def step(x: Tensor) -> Tensor:
        h = stack(x)
        drawn.append(torch.rand(4))
        h.sum().backward()
        drawn.append(torch.rand(4))
        return h

    CapturedStep(step, stack).rehearse(torch.randn(5, 4))
    assert len(drawn) == 6 + 1 + 6 + 1
    distinct = {tuple(d.tolist()) for d in drawn}
    assert len(distinct) == 8
    assert {tuple(d.tolist()) for d in drawn[:6]} == {tuple(d.tolist()) for d in drawn[7:13]}


def test_a_stack_in_a_block_and_two_backward_passes(data, random_graph) -> None:
    found = []
    for gradient in (Backprop(), Reversible()):
        torch.manual_seed(0)
        inner = [ReversibleStack([[GENConvBlock(4), GENConvBlock(4)]], gradient=gradient) for _ in range(6)]
        stack = ReversibleStack([[inner[2 * n], inner[2 * n + 1]] for n in range(3)], gradient=gradient)

        def step(x: Tensor, y: Tensor, stack=stack) -> tuple[Tensor]:
            loss = F.mse_loss(stack(x, random_graph), y)
            loss.backward(retain_graph=True)
            loss.backward()
            return (loss,)

        torch.manual_seed(1)
        found.append(results(stack, CapturedStep(step, stack).rehearse(*data)))
    assert_same(*found)


class GENConvBlock(PreActivation):
    def __init__(self, width: int) -> None:
        super().__init__(GENConv(width, width), dropout=0.2)


def test_on_the_cpu_a_call_is_the_step_as_it_is(data, random_graph) -> None:
    """With its seeds, and gradients in place of those that were there."""
    found = []
    for captured in (True, False):
        stack = gen_stack(4, 2, 8, norm="batch", dropout=0.2)
        step = make_step(stack, random_graph, dropout=0.3)
        torch.manual_seed(1)
        for _ in range(5):
            if captured:
                outputs = step(*data)
            else:
                stack.zero_grad(set_to_none=True)
                outputs = [t.detach() for t in step.step(*data)]
        found.append(results(stack, outputs))
    assert_same(*found)


# --- the range of the state -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_state_beyond_any_grid_raises_once_the_step_is_over(bad: float) -> None:
    stack = ReversibleStack([[nn.Linear(2, 2), nn.Linear(2, 2)]])
    backward = []

    def step(x: Tensor) -> None:
        stack(x).sum().backward()
        backward.append(True)

    step = CapturedStep(step, stack)
    for run in (step, step.rehearse):
        with pytest.raises(StateRangeError, match="reached a magnitude of"):
            run(torch.full((3, 4), bad))
    assert backward == [True], "the rehearsal looks after the backward pass, the step as it is within the forward pass"


def test_a_state_that_outgrows_its_grid_is_run_again_on_a_coarser_one(unseeded) -> None:
    """As an ordinary step: with its warning, its statistics moved once, and its random numbers."""
    found = []
    for rehearsed in (False, True):
        torch.manual_seed(0)
        stack = ReversibleStack([[nn.Sequential(nn.BatchNorm1d(2), Grow(900.0)) for _ in range(2)] for _ in range(2)])
        step = CapturedStep(step_of(stack), stack)
        torch.manual_seed(1)
        with pytest.warns(UserWarning, match="Going on"):
            outputs = unseeded(step.rehearse if rehearsed else step, torch.randn(10, 4))
        assert stack.coarsened > 0
        assert {int(m.num_batches_tracked) for m in stack.modules() if isinstance(m, nn.BatchNorm1d)} == {1}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            step.rehearse(torch.randn(10, 4))
        found.append(results(stack, outputs))
    assert_same(*found)


def step_of(stack: nn.Module):
    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        h = stack(x)
        loss = F.dropout(h, 0.3).square().mean()
        loss.backward()
        return loss, h

    return step


def test_without_a_grid_or_without_gradients_there_is_nothing_to_look_at(data, random_graph) -> None:
    for state in ("plain", "grid"):
        stack = gen_stack(2, 2, 8, state=state)
        with recordable() as checks, torch.set_grad_enabled(state == "plain"):
            stack(data[0], random_graph)
            checks.gather()
        checks.verify()


@pytest.mark.parametrize("strategy", [Backprop(), Reversible(), Checkpoint()], **ids)
def test_batch_norm_moves_once(strategy, data, random_graph) -> None:
    stack = gen_stack(3, 2, 8, norm="batch", gradient=strategy)
    make_step(stack, random_graph).rehearse(*data)
    assert {int(b) for name, b in stack.named_buffers() if name.endswith("num_batches_tracked")} == {1}


# --- what cannot be recorded ------------------------------------------------------------------------------------------------------


READS = {
    "item": lambda t: t.sum().item(),
    "float": lambda t: float(t.sum()),
    "bool": lambda t: bool(t.sum() > 0),
    "equal": lambda t: torch.equal(t, t),
    "mask": lambda t: t[t > 0],
    "assignment by mask": lambda t: t.clone().__setitem__(t > 0, 0.0),
    "nonzero": lambda t: t.nonzero(),
    "masked_select": lambda t: t.masked_select(t > 0),
    "unique": lambda t: t.unique(),
    "repeat_interleave": lambda t: t[:2, 0].repeat_interleave(torch.tensor([1, 2])),
    "to another device": lambda t: t.to("meta"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
@pytest.mark.parametrize("where", ["step", "block"])
def test_reading_on_the_host_is_refused(read, where: str) -> None:
    class Reads(nn.Linear):
        def forward(self, y: Tensor) -> Tensor:
            if where == "block" and torch.is_grad_enabled():  # in the backward pass
                read(y.detach())
            return super().forward(y)

    stack = ReversibleStack([[Reads(2, 2), nn.Linear(2, 2)]])

    def step(x: Tensor) -> Tensor:
        loss = stack(x).sum()
        loss.backward()
        if where == "step":
            read(loss.detach().reshape(1, 1).expand(3, 3))
        return loss

    x = torch.randn(3, 4)
    CapturedStep(step, stack)(x)
    with pytest.raises(CaptureError, match=r"aten::\w+ cannot be recorded in a CUDA graph: .*\.item\(\)"):
        CapturedStep(step, stack).rehearse(x)
    stack(x)  # nothing stays behind


def test_what_does_not_wait_is_not_refused() -> None:
    t, index = torch.randn(6, 3), torch.tensor([0, 2])
    with NoHostReads():
        assert t[index].shape == (2, 3)
        assert torch.where(t > 0, t, 0.0).shape == t.shape
        assert t.index_fill(0, index, 1.0).masked_fill(t > 0, 0.0).to(torch.bfloat16).clone().shape == t.shape
        assert torch.repeat_interleave(index, index, output_size=2).shape == (2,)


def test_steps_that_do_too_much_are_refused(data, random_graph) -> None:
    stack = gen_stack(2, 2, 8)
    optimizer = torch.optim.SGD(stack.parameters(), 0.1)

    def moves(x: Tensor) -> Tensor:
        loss = stack(x, random_graph).sum()
        loss.backward()
        optimizer.step()
        return loss

    for run in (CapturedStep(moves, stack), CapturedStep(moves, stack).rehearse):
        with pytest.raises(CaptureError, match=r"changes a parameter; leave the optimiser's step out"):
            run(data[0])
    with pytest.raises(CaptureError, match="returns tensors, got float"):
        CapturedStep(lambda x: {"loss": 1.0}, stack)(data[0])
    with pytest.raises(ValueError, match=r"input 1 is Graph"):
        CapturedStep(lambda x, graph: x, stack)(data[0], random_graph)
    with pytest.raises(ValueError, match=r"on the device of its model, cpu, but input 0 is a tensor on meta"):
        CapturedStep(lambda x: x, stack)(data[0].to("meta"))
    with pytest.raises(ValueError, match=r"parameters on one device is wanted, got none"):
        CapturedStep(lambda x: x, nn.ReLU())
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(CaptureError, match="enter autocast inside"):
        CapturedStep(lambda x: x, stack)(data[0])
    with recordable(), pytest.raises(CaptureError, match="inside another"):
        CapturedStep(lambda x: x, stack).rehearse(data[0])


def test_a_block_with_a_state_of_its_own_is_refused_by_name() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, y: Tensor) -> Tensor:
            self.calls += 1
            return self.linear(y) / self.calls

    stack = ReversibleStack([[Counts(), Counts()]])
    with pytest.raises(ValueError, match=r"changes its buffer '0\.blocks\.0\.calls'"):
        CapturedStep(lambda x: stack(x).sum().backward(), stack).rehearse(torch.randn(3, 4))


def test_under_autocast_inside(data, random_graph) -> None:
    found = []
    for gradient in (Backprop(), Reversible(), Checkpoint()):
        stack = gen_stack(6, 2, 8, dropout=0.2, gradient=gradient)

        def step(x: Tensor, y: Tensor, stack: Stack = stack) -> tuple[Tensor]:
            with torch.autocast("cpu", torch.bfloat16):
                h = stack(x, random_graph)
            loss = F.mse_loss(h, y)
            loss.backward()
            return (loss,)

        torch.manual_seed(1)
        found.append(results(stack, CapturedStep(step, stack).rehearse(*data)))
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


# --- warm-up, recording, replay, with a graph that is a Python function -----------------------------------------------------------


class Pretended:
    """In place of a CUDA graph: a replay runs the step on the recorded inputs, and writes to the recorded tensors."""

    def __init__(self, step: CapturedStep, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step, self.recorded, self.replayed, self.tried = step, 0, 0, []
        trial = step._trial

        def noted(device: torch.device, inputs: tuple[Tensor, ...], watch: Any) -> Any:
            self.tried.append(isinstance(watch, NoHostReads))
            return trial(device, inputs, watch)

        monkeypatch.setattr(step, "_aside", lambda work: work())
        monkeypatch.setattr(step, "_record", self.record)
        monkeypatch.setattr(step, "_trial", noted)

    def __call__(self, *inputs: Tensor) -> Any:
        return self.step._on_cuda(*self.step._check(inputs))

    def record(self, inputs: tuple[Tensor, ...]) -> Any:
        self.recorded += 1
        step, static = self.step, tuple(t.clone() for t in inputs)
        parameters = [p for p in step.model.parameters() if p.requires_grad]
        before, buffers = torch.get_rng_state(), [b.clone() for b in step.model.buffers()]
        with recordable() as checks:
            outputs = step._run(static)
            checks.gather()
        torch.set_rng_state(before)
        for buffer, old in zip(step.model.buffers(), buffers, strict=True):
            buffer.copy_(old)
        grads = [p.grad for p in parameters]

        def replay() -> None:
            self.replayed += 1
            kept = [p.grad for p in parameters]
            with recordable() as again:
                new = step._run(static)
                again.gather()
            made = [(old, p.grad) for old, p in zip(grads, parameters, strict=True)]
            for old, now in [*zip(outputs, new, strict=True), *made, (checks._gathered, again._gathered)]:
                if old is not None:
                    old.copy_(now)
            for p, grad in zip(parameters, kept, strict=True):
                p.grad = grad

        addresses = [p.data_ptr() for p in parameters]
        mode = module._mode(step.model)
        return module._Recording(SimpleNamespace(replay=replay), static, outputs, checks, parameters, addresses, grads, mode)


def test_every_call_is_one_step(data, random_graph, monkeypatch, unseeded) -> None:
    """Three run it, two of them watched; the fourth records. Seven calls are seven ordinary steps, weights and inputs changing."""
    found = []
    for captured in (True, False):
        stack = gen_stack(3, 2, 8, norm="batch")
        step = make_step(stack, random_graph, dropout=0.3)
        call = Pretended(step, monkeypatch) if captured else lambda *inputs, step=step: unseeded(step, *inputs)
        optimizer = torch.optim.Adam(stack.parameters(), 0.01)
        torch.manual_seed(1)
        outputs = []
        for n in range(7):
            outputs += [t.clone() for t in call(data[0] + n, data[1])]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if captured:
            assert (call.tried, call.recorded, call.replayed) == ([False, True, True], 1, 4)
        found.append([*outputs, *stack.parameters(), *stack.buffers(), torch.rand(1)])
    assert_same(*found)


def test_results_of_a_replay_are_not_overwritten_by_the_next(data, random_graph, monkeypatch) -> None:
    call = Pretended(make_step(gen_stack(2, 2, 8), random_graph), monkeypatch)
    for _ in range(4):
        first = call(*data)
    copies = [t.clone() for t in first]
    second = call(data[0] + 1, data[1])
    assert all(torch.equal(a, b) for a, b in zip(first, copies, strict=True))
    assert not torch.equal(first[1], second[1])


def test_a_replay_whose_state_outgrows_the_grid_is_run_again(monkeypatch) -> None:
    torch.manual_seed(0)
    stack = ReversibleStack([[nn.Sequential(nn.BatchNorm1d(2), Grow(1.0)) for _ in range(2)] for _ in range(2)])
    call = Pretended(CapturedStep(step_of(stack), stack), monkeypatch)
    x = torch.randn(10, 4)
    for _ in range(4):
        call(x)
    with torch.no_grad():
        for grow in stack.modules():
            if isinstance(grow, Grow):
                grow.factor.fill_(900.0)
    with pytest.warns(UserWarning, match="Going on"):
        _, h = call(x)
    assert h.abs().max() > 1024
    assert call.replayed == 2
    assert stack.coarsened > 0
    assert {int(m.num_batches_tracked) for m in stack.modules() if isinstance(m, nn.BatchNorm1d)} == {5}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            call(x)
    assert (call.recorded, call.replayed) == (2, 3)
    with pytest.raises(StateRangeError):
        call(torch.full_like(x, float("nan")))


def test_what_is_not_as_it_was_recorded(data, random_graph, monkeypatch) -> None:
    stack = gen_stack(2, 2, 8)
    call = Pretended(make_step(stack, random_graph), monkeypatch)
    for _ in range(4):
        call(*data)
    with pytest.raises(CaptureError, match=r"recorded for inputs \['float32 \(60, 16\)'.*got \['float64 \(60, 16\)'"):
        call(data[0].double(), data[1])
    stack.eval()
    with pytest.raises(CaptureError, match=r"\(True, True\), but is called with \(False, True\)"):
        call(*data)
    stack.train()
    call(*data)
    for parameter in stack.parameters():
        parameter.data = parameter.data.clone()
    for _ in range(4):
        call(*data)
    assert call.recorded == 2
    call.step.forget()
    call(*data)
    assert (call.recorded, call.replayed) == (2, 3)


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of `torch.cuda`: what is asked of it, in order. A graph that is replayed does nothing."""
    asked: list[str] = []

    class Stream:
        def wait_stream(self, other: Stream) -> None:
            asked.append("wait")

    @contextmanager
    def entered(name: str) -> Iterator[None]:
        asked.append(name)
        yield
        asked.append(f"end of {name}")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: entered("stream"))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: entered("graph"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: asked.append("replay")))
    return asked


def test_what_is_asked_of_a_device(data, random_graph, no_device) -> None:
    stack = gen_stack(2, 2, 8)
    step = make_step(stack, random_graph)
    call = lambda: step._on_cuda(*step._check(data))  # noqa: E731
    for n in range(1, 4):
        call()
        assert no_device == ["wait", "stream", "end of stream", "wait"] * n
    no_device.clear()
    first = call()
    assert no_device == ["graph", "end of graph", "replay"]
    grads = [p.grad for p in stack.parameters()]
    stack.zero_grad(set_to_none=True)
    second = call()
    assert no_device == ["graph", "end of graph", "replay", "replay"]
    assert all(p.grad is grad for p, grad in zip(stack.parameters(), grads, strict=True))
    assert_same(list(first), list(second))
    assert first[0] is not second[0]


def test_errors_while_recording(no_device, monkeypatch) -> None:
    linear = nn.Linear(2, 2)
    step = CapturedStep(lambda x: linear(x), linear)
    call = lambda: step._on_cuda(*step._check((torch.ones(1, 2),)))  # noqa: E731
    for _ in range(3):
        call()

    def fails(x: Tensor) -> Tensor:
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("capture was invalidated")

    step.step = fails
    with pytest.raises(CaptureError, match=r"could not be recorded: operation not permitted when stream is capturing\. Within it"):
        call()
    step.step = lambda x: refuse_recording("this", "a reason")
    with pytest.raises(CaptureError, match=r"^this cannot be recorded in a CUDA graph: a reason\.$"):
        call()
    step.step = lambda x: linear(x)
    call()
    assert step._recording is not None


def test_a_step_that_cannot_be_recorded_is_refused_each_time(monkeypatch) -> None:
    linear = nn.Linear(2, 2)
    call = Pretended(CapturedStep(lambda x: linear(x) * linear(x).sum().item(), linear), monkeypatch)
    call(torch.ones(1, 2))
    for _ in range(5):
        with pytest.raises(CaptureError, match="reads a value on the host"):
            call(torch.ones(1, 2))
    assert call.recorded == 0


def test_frozen_and_unused_parameters(data, random_graph, monkeypatch) -> None:
    stack = ResidualStack([PreActivation(GENConv(16, 16)) for _ in range(3)], gradient=Checkpoint())
    stack.layers[0].requires_grad_(False)
    stack.register_parameter("unused", nn.Parameter(torch.ones(2)))

    def step(x: Tensor, y: Tensor) -> tuple[Tensor]:
        loss = F.mse_loss(stack(x, random_graph), y)
        loss.backward()
        return (loss,)

    call = Pretended(CapturedStep(step, stack), monkeypatch)
    for _ in range(5):
        (loss,) = call(*data)
    (expected,) = step(*data)
    assert torch.equal(loss, expected.detach())
    assert stack.unused.grad is None
    assert all(p.grad is None for p in stack.layers[0].parameters())
    assert all(p.grad is not None for p in stack.layers[1].parameters())
