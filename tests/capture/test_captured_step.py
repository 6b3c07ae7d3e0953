"""A step that is recorded reads nothing on the host, seeds no generator, and computes what the ordinary step computes."""

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
from revgnn.capture import CapturedStep, CaptureError
from revgnn.capture.deferred import deferred_host_access
from revgnn.capture.host_reads import NoHostReads
from revgnn.capture.recording import Recording, mode_of
from revgnn.nn import GATConv, GENConv, PreActivation
from revgnn.stack import (
    Backprop,
    Checkpoint,
    PerGroup,
    ResidualStack,
    Reversible,
    ReversibleStack,
    Stack,
    StateRangeError,
)
from tests.stack.networks import Scale, gen_stack

STRATEGIES = [Backprop(), Reversible(), Reversible(segments=2), Checkpoint(), Checkpoint(every=3)]
ids = {"ids": str}


class GuardedGenerator:
    """A generator that may not be seeded, and may be set only if that is allowed."""

    def __init__(self, generator: torch.Generator, *, may_be_set: bool) -> None:
        self.get_state = generator.get_state
        self.times_set = 0
        self._generator, self._may_be_set = generator, may_be_set

    def manual_seed(self, seed: int) -> None:
        raise AssertionError("a generator is seeded within a step that is recorded")

    def set_state(self, state: Tensor) -> None:
        assert self._may_be_set, "a generator is set though no block draws"
        self.times_set += 1
        self._generator.set_state(state)


@pytest.fixture
def unseeded(monkeypatch: pytest.MonkeyPatch):
    """Run an ordinary step whose stacks draw no seed, so that it draws the same numbers after them as a recorded step."""

    def run(step: Callable[..., Any], *inputs: Tensor) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor(5))
            return step(*inputs)

    return run


def make_step(stack: nn.Module, graph: Any, *, dropout: float = 0.0, groups: int = 2, **kwargs: Any) -> CapturedStep:
    """Return a step of mask, stack, loss, backward pass and clipping. It returns the loss, the state and the norm."""

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
    """Return outputs, gradients, buffers and the next random number after a step."""
    grads = [p.grad.clone() for p in stack.parameters() if p.grad is not None]
    return [*(t.clone() for t in outputs), *grads, *(b.clone() for b in stack.buffers()), torch.rand(1)]


def assert_same(ours: list[Tensor], expected: list[Tensor]) -> None:
    assert len(ours) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(60, 16), torch.randn(60, 16)


@pytest.mark.parametrize("strategy", STRATEGIES, **ids)
@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("state", ["grid", "float64", "plain"])
def test_a_rehearsal_is_the_ordinary_step(strategy, norm, state, data, random_graph, unseeded, monkeypatch) -> None:
    """Values, gradients, statistics and the next random number are equal; nothing is read, and no generator is seeded or set."""
    found = []
    for rehearsed in (False, True):
        stack = gen_stack(6, 2, 8, norm=norm, gradient=strategy, state=state)
        step = make_step(stack, random_graph, dropout=0.3)
        torch.manual_seed(1)
        if rehearsed:
            with monkeypatch.context() as patch:
                patch.setattr(torch, "default_generator", GuardedGenerator(torch.default_generator, may_be_set=False))
                outputs = step.rehearse(*data)
        else:
            outputs = unseeded(step, *data)
        assert all(not out.requires_grad for out in outputs)
        found.append(results(stack, outputs))
    assert_same(*found)


@pytest.mark.parametrize("strategy", STRATEGIES[1:], **ids)
def test_gradients_are_exact_if_blocks_draw_random_numbers(strategy, data, random_graph, monkeypatch) -> None:
    """The generator is set back for the second evaluation, not seeded; gradients are those of `Backprop`."""
    found = []
    for gradient in (Backprop(), strategy):
        stack = gen_stack(6, 2, 8, dropout=0.3, gradient=gradient)
        torch.manual_seed(1)
        with monkeypatch.context() as patch:
            guarded = GuardedGenerator(torch.default_generator, may_be_set=True)
            patch.setattr(torch, "default_generator", guarded)
            outputs = make_step(stack, random_graph).rehearse(*data)
        assert (guarded.times_set > 0) == gradient.recomputes
        found.append(results(stack, outputs))
    assert_same(*found)
    assert make_step(gen_stack(6, 2, 8, dropout=0.3), random_graph).rehearse(*data)[0] != found[0][0]


def test_gradients_are_exact_with_attention_dropout(data, random_graph) -> None:
    found = []
    for gradient in (Backprop(), Reversible()):
        torch.manual_seed(0)
        conv = lambda: GATConv(8, 4, heads=2, dropout=0.3, edge_dropout=0.2)  # noqa: E731
        stack = ReversibleStack([[PreActivation(conv(), dropout=0.1) for _ in range(2)] for _ in range(4)], gradient=gradient)
        found.append(results(stack, make_step(stack, random_graph).rehearse(*data)))
    assert_same(*found)


@pytest.mark.parametrize("strategy", [Reversible(), Checkpoint()], **ids)
def test_random_numbers_of_blocks_are_not_drawn_again_elsewhere(strategy) -> None:
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
        super().__init__(GENConv(width, width, aggr="max", norm="layer", bias=True), dropout=0.2)


def test_on_the_cpu_a_call_is_the_step_as_it_is(data, random_graph) -> None:
    """It draws its seeds, and replaces gradients."""
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
    assert backward == [True], "a rehearsal checks after the backward pass, the ordinary step in the forward pass"


def test_a_state_that_outgrows_its_grid_is_run_again_on_a_coarser_one(unseeded) -> None:
    """As an ordinary step does: with a warning, one update of the statistics, and the same random numbers."""
    found = []
    for rehearsed in (False, True):
        torch.manual_seed(0)
        stack = ReversibleStack([[nn.Sequential(nn.BatchNorm1d(2), Scale(900.0)) for _ in range(2)] for _ in range(2)])
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


def test_without_a_grid_or_without_gradients_no_range_is_checked(data, random_graph) -> None:
    for state in ("plain", "grid"):
        stack = gen_stack(2, 2, 8, state=state)
        with deferred_host_access(stack) as checks, torch.set_grad_enabled(state == "plain"):
            stack(data[0], random_graph)
            checks.gather()
        checks.verify()


@pytest.mark.parametrize("strategy", [Backprop(), Reversible(), Checkpoint()], **ids)
def test_batch_norm_updates_its_statistics_once(strategy, data, random_graph) -> None:
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
    stack(x)  # an ordinary run, as before


def test_operators_that_do_not_wait_are_not_refused() -> None:
    t, index = torch.randn(6, 3), torch.tensor([0, 2])
    with NoHostReads():
        assert t[index].shape == (2, 3)
        assert torch.where(t > 0, t, 0.0).shape == t.shape
        assert t.index_fill(0, index, 1.0).masked_fill(t > 0, 0.0).to(torch.bfloat16).clone().shape == t.shape
        assert torch.repeat_interleave(index, index, output_size=2).shape == (2,)


def test_bad_steps_and_inputs_are_refused(data, random_graph) -> None:
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
    with pytest.raises(ValueError, match=r"must be on one device, got none"):
        CapturedStep(lambda x: x, nn.ReLU())
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(CaptureError, match="enter autocast inside"):
        CapturedStep(lambda x: x, stack)(data[0])
    with deferred_host_access(stack), pytest.raises(CaptureError, match="inside another"):
        CapturedStep(lambda x: x, stack).rehearse(data[0])


def test_a_stack_outside_the_model_is_refused() -> None:
    """It is not found among the modules of the model, so it draws a seed on the host."""
    linear, stack = nn.Linear(4, 4), ReversibleStack([[nn.Linear(2, 2), nn.Linear(2, 2)]])
    with pytest.raises(CaptureError, match="reads a value on the host"):
        CapturedStep(lambda x: stack(linear(x)).sum().backward(), linear).rehearse(torch.randn(3, 4))


def test_stacks_access_the_host_again_after_a_rehearsal_that_fails() -> None:
    stack = ReversibleStack([[nn.Linear(2, 2), nn.Linear(2, 2)]])
    before = stack.host_access

    def fails(x: Tensor) -> None:
        assert stack.host_access is not before
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        CapturedStep(fails, stack).rehearse(torch.randn(3, 4))
    assert stack.host_access is before


def test_a_block_that_changes_its_buffer_is_refused() -> None:
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


def test_gradients_are_exact_under_autocast(data, random_graph) -> None:
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


# --- warm-up, recording and replay, with a Python function in place of a graph ----------------------------------------------------


class SimulatedGraph:
    """A captured step whose replays run the step on the recorded inputs and write to the recorded tensors."""

    def __init__(self, step: CapturedStep, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step, self.recorded, self.replayed, self.watched = step, 0, 0, []
        run_as_recorded = step._run_as_recorded

        def noted(device: torch.device, inputs: tuple[Tensor, ...], watch: Any) -> Any:
            self.watched.append(isinstance(watch, NoHostReads))
            return run_as_recorded(device, inputs, watch)

        monkeypatch.setattr(step, "_on_side_stream", lambda work: work())
        monkeypatch.setattr(step, "_record", self.record)
        monkeypatch.setattr(step, "_run_as_recorded", noted)

    def __call__(self, *inputs: Tensor) -> Any:
        return self.step._call_on_cuda(*self.step._check(inputs))

    def record(self, inputs: tuple[Tensor, ...]) -> Recording:
        self.recorded += 1
        step, static = self.step, tuple(t.clone() for t in inputs)
        parameters = [p for p in step.model.parameters() if p.requires_grad]
        before, buffers = torch.get_rng_state(), [b.clone() for b in step.model.buffers()]
        with deferred_host_access(step.model) as checks:
            outputs = step._run(static)
            checks.gather()
        torch.set_rng_state(before)
        for buffer, old in zip(step.model.buffers(), buffers, strict=True):
            buffer.copy_(old)
        grads = [p.grad for p in parameters]

        def replay() -> None:
            self.replayed += 1
            kept = [p.grad for p in parameters]
            with deferred_host_access(step.model) as new_checks:
                new_outputs = step._run(static)
                new_checks.gather()
            new_grads = [p.grad for p in parameters]
            static_and_new = [*zip(outputs, new_outputs, strict=True), *zip(grads, new_grads, strict=True)]
            for old, new in [*static_and_new, (checks._gathered, new_checks._gathered)]:
                if old is not None:
                    old.copy_(new)
            for p, grad in zip(parameters, kept, strict=True):
                p.grad = grad

        graph: Any = SimpleNamespace(replay=replay)
        addresses = [p.data_ptr() for p in parameters]
        return Recording(graph, static, outputs, checks, parameters, addresses, grads, mode_of(step.model))


def test_every_call_is_one_step(data, random_graph, monkeypatch, unseeded) -> None:
    """Three calls run the step, two of them watched; the fourth records it. Seven calls are seven ordinary steps."""
    found = []
    for captured in (True, False):
        stack = gen_stack(3, 2, 8, norm="batch")
        step = make_step(stack, random_graph, dropout=0.3)
        call = SimulatedGraph(step, monkeypatch) if captured else lambda *inputs, step=step: unseeded(step, *inputs)
        optimizer = torch.optim.Adam(stack.parameters(), 0.01)
        torch.manual_seed(1)
        outputs = []
        for n in range(7):
            outputs += [t.clone() for t in call(data[0] + n, data[1])]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if captured:
            assert (call.watched, call.recorded, call.replayed) == ([False, True, True], 1, 4)
        found.append([*outputs, *stack.parameters(), *stack.buffers(), torch.rand(1)])
    assert_same(*found)


def test_the_next_replay_does_not_overwrite_results(data, random_graph, monkeypatch) -> None:
    call = SimulatedGraph(make_step(gen_stack(2, 2, 8), random_graph), monkeypatch)
    for _ in range(4):
        first = call(*data)
    copies = [t.clone() for t in first]
    second = call(data[0] + 1, data[1])
    assert all(torch.equal(a, b) for a, b in zip(first, copies, strict=True))
    assert not torch.equal(first[1], second[1])


def test_a_replay_whose_state_outgrows_the_grid_is_run_again(monkeypatch) -> None:
    torch.manual_seed(0)
    stack = ReversibleStack([[nn.Sequential(nn.BatchNorm1d(2), Scale(1.0)) for _ in range(2)] for _ in range(2)])
    call = SimulatedGraph(CapturedStep(step_of(stack), stack), monkeypatch)
    x = torch.randn(10, 4)
    for _ in range(4):
        call(x)
    with torch.no_grad():
        for scale in stack.modules():
            if isinstance(scale, Scale):
                scale.factor.fill_(900.0)
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


def test_calls_that_differ_from_the_recording(data, random_graph, monkeypatch) -> None:
    stack = gen_stack(2, 2, 8)
    call = SimulatedGraph(make_step(stack, random_graph), monkeypatch)
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
    """Replace `torch.cuda`, and return the calls to it in order. Replaying a graph does nothing."""
    calls: list[str] = []

    class Stream:
        def wait_stream(self, other: Stream) -> None:
            calls.append("wait")

    @contextmanager
    def entered(name: str) -> Iterator[None]:
        calls.append(name)
        yield
        calls.append(f"end of {name}")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: entered("stream"))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: entered("graph"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: calls.append("replay")))
    return calls


def test_calls_to_a_device(data, random_graph, no_device) -> None:
    stack = gen_stack(2, 2, 8)
    step = make_step(stack, random_graph)
    call = lambda: step._call_on_cuda(*step._check(data))  # noqa: E731
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
    call = lambda: step._call_on_cuda(*step._check((torch.ones(1, 2),)))  # noqa: E731
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
    linear.capture_obstacle = lambda: "this cannot be recorded in a CUDA graph: a reason."
    with pytest.raises(CaptureError, match=r"^this cannot be recorded in a CUDA graph: a reason\.$"):
        call()
    del linear.capture_obstacle
    step.step = lambda x: linear(x)
    call()
    assert step._recording is not None


def test_a_step_that_reads_on_the_host_is_refused_in_each_call(monkeypatch) -> None:
    linear = nn.Linear(2, 2)
    call = SimulatedGraph(CapturedStep(lambda x: linear(x) * linear(x).sum().item(), linear), monkeypatch)
    call(torch.ones(1, 2))
    for _ in range(5):
        with pytest.raises(CaptureError, match="reads a value on the host"):
            call(torch.ones(1, 2))
    assert call.recorded == 0


def test_frozen_and_unused_parameters(data, random_graph, monkeypatch) -> None:
    stack = ResidualStack(
        [PreActivation(GENConv(16, 16, aggr="max", norm="layer", bias=True)) for _ in range(3)], gradient=Checkpoint()
    )
    stack.layers[0].requires_grad_(False)
    stack.register_parameter("unused", nn.Parameter(torch.ones(2)))

    def step(x: Tensor, y: Tensor) -> tuple[Tensor]:
        loss = F.mse_loss(stack(x, random_graph), y)
        loss.backward()
        return (loss,)

    call = SimulatedGraph(CapturedStep(step, stack), monkeypatch)
    for _ in range(5):
        (loss,) = call(*data)
    (expected,) = step(*data)
    assert torch.equal(loss, expected.detach())
    assert stack.unused.grad is None
    assert all(p.grad is None for p in stack.layers[0].parameters())
    assert all(p.grad is not None for p in stack.layers[1].parameters())
