"""`PeakMemory` compared with bytes counted by hand, and with the allocator's own record."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from revgnn.memory import PeakMemory

ROWS, COLUMNS = 1000, 64
ONE = ROWS * COLUMNS * 4  # bytes of one float32 tensor of that shape
FEW = 2048  # scalars, index vectors and the like


@torch.library.custom_op("revgnn_test::needs_scratch", mutates_args=())
def needs_scratch(x: Tensor) -> Tensor:
    scratch = torch.ones(8, *x.shape)
    return scratch.sum(0) * x


def allocator_peak(work: Callable[[], object]) -> int:
    """Return the peak of bytes from PyTorch's CPU allocator: slow and large to record, but complete."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events, todo = [], list(profile.profiler.kineto_results.experimental_event_tree())
    while todo:
        event = todo.pop()
        todo.extend(event.children)
        if event.name == "[memory]":
            events.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    live = peak = 0
    known: dict[int, int] = {}
    for _, address, size in sorted(events, key=lambda e: e[0]):
        if size > 0:
            known[address] = size
            live += size
            peak = max(peak, live)
        else:
            # Count only what was allocated during the recording: an address may have been in use before.
            live -= known.pop(address, 0)
    return peak


def measure(work: Callable[[], object]) -> tuple[int, int]:
    with PeakMemory() as memory:
        result = work()
    del result
    return memory.peak_bytes, memory.live_bytes


@pytest.fixture
def x() -> Tensor:
    return torch.randn(ROWS, COLUMNS)


def test_chain_needs_two_tensors_at_a_time(x: Tensor):
    weight = torch.randn(COLUMNS, COLUMNS)

    def chain() -> Tensor:
        h = x
        for _ in range(7):
            h = h @ weight
        return h

    assert measure(chain) == (2 * ONE, ONE)


def test_views_and_in_place_operations_are_free(x: Tensor):
    def views() -> tuple[Tensor, ...]:
        h = x + x
        h.add_(1).mul_(2)
        return h, h.t(), h.view(-1)[5:], x.view(-1), h.detach()

    assert measure(views) == (ONE, ONE)


def test_memory_alive_at_entry_is_not_counted(x: Tensor):
    assert measure(lambda: x.mul_(2)) == (0, 0)


def test_what_autograd_saves_is_alive_until_the_backward_pass(x: Tensor):
    x.requires_grad_()
    with PeakMemory() as memory:
        y = x.exp().sin().exp()  # saves the first result, which is also the input of `sin`, and the last
        assert memory.live_bytes == 2 * ONE
        y.sum().backward()
        del y
        gc.collect()
        assert memory.live_bytes == pytest.approx(ONE, abs=FEW)  # the gradient
    # In the derivative of `sin`: the two saved tensors, the incoming gradient, the cosine, their product.
    assert memory.peak_bytes == pytest.approx(5 * ONE, abs=FEW)


def test_figures_do_not_change_after_the_end(x: Tensor):
    with PeakMemory() as memory:
        y = x + 1
    before = memory.peak_bytes, memory.live_bytes
    del y
    x + x + x
    assert (memory.peak_bytes, memory.live_bytes) == before == (ONE, ONE)


def test_nested_contexts_see_the_same_work(x: Tensor):
    with PeakMemory() as outer:
        kept = x + 1
        with PeakMemory() as inner:
            needs_scratch(x + 1)
        x + 1
    assert inner.peak_bytes == 11 * ONE  # x + 1, eight of scratch, their sum, the product
    assert inner.live_bytes == 0
    assert outer.peak_bytes == inner.peak_bytes + ONE
    assert outer.live_bytes == ONE
    assert kept.shape == x.shape


def test_resized_storages(x: Tensor):
    with PeakMemory() as memory:
        y = x + 1
        y.untyped_storage().resize_(0)
        assert memory.live_bytes == 0
        z = x + 1
        y.untyped_storage().resize_(ONE)
        assert memory.live_bytes == 2 * ONE
    assert memory.peak_bytes == 2 * ONE
    assert z.shape == y.shape
    assert torch.UntypedStorage.resize_ is torch._C.StorageBase.resize_


def test_memory_of_numpy_is_not_counted():
    array = np.ones((ROWS, COLUMNS), np.float32)
    assert measure(lambda: torch.from_numpy(array).view(-1)) == (0, 0)
    assert measure(lambda: torch.from_numpy(array) + 1)[0] == ONE
    assert measure(lambda: torch.as_tensor(array)) == (0, 0)
    assert measure(lambda: torch.tensor(array)) == (ONE, ONE)
    assert measure(lambda: torch.tensor([1.0] * ROWS)) == (4 * ROWS, 4 * ROWS)


def test_an_error_inside_ends_the_measurement(x: Tensor):
    with pytest.raises(RuntimeError, match="invalid for input of size"), PeakMemory():
        (x + 1).view(3, 5)
    assert torch.UntypedStorage.resize_ is torch._C.StorageBase.resize_
    assert measure(lambda: x + 1) == (ONE, ONE)


def test_measures_once_and_only_known_devices():
    memory = PeakMemory()
    with memory:
        pass
    with pytest.raises(RuntimeError, match="make a new one"), memory:
        pass
    with pytest.raises(ValueError, match="got meta"):
        PeakMemory("meta")


def mlp_step() -> Callable[[], object]:
    net = nn.Sequential(
        nn.LayerNorm(COLUMNS),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(COLUMNS, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, COLUMNS),
    )
    x = torch.randn(ROWS, COLUMNS)
    return lambda: net(x).square().mean().backward()


def adam_step() -> Callable[[], object]:
    net = nn.Linear(300, 300)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    x = torch.randn(ROWS, 300)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(x), torch.ones(ROWS, 300)).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return step


def autocast_step() -> Callable[[], object]:
    net = nn.Sequential(nn.Linear(COLUMNS, COLUMNS), nn.LayerNorm(COLUMNS), nn.Linear(COLUMNS, COLUMNS))
    # Enough rows that the peak is between two operators, not within a matrix product, whose scratch memory is not counted.
    x = torch.randn(5 * ROWS, COLUMNS)

    def step() -> None:
        # oneDNN's products in bfloat16 take scratch memory on some processors, which is not counted
        with torch.backends.mkldnn.flags(enabled=False):
            with torch.autocast("cpu", torch.bfloat16):
                loss = net(x).float().sum()
            loss.backward()

    return step


def checkpoint_step() -> Callable[[], object]:
    net = nn.Sequential(nn.Linear(COLUMNS, COLUMNS), nn.ReLU(), nn.Linear(COLUMNS, COLUMNS))
    x = torch.randn(ROWS, COLUMNS, requires_grad=True)
    return lambda: checkpoint(net, x, use_reentrant=False).sum().backward()


def custom_op_call() -> Callable[[], object]:
    x = torch.randn(ROWS, COLUMNS)
    return lambda: needs_scratch(x)


@pytest.mark.parametrize("make", [mlp_step, adam_step, autocast_step, checkpoint_step, custom_op_call])
def test_agrees_with_the_allocator(make: Callable[[], Callable[[], object]]):
    make()()  # the first call of an operator allocates memory that stays
    expected = allocator_peak(make())
    # The rest are scratch vectors of single kernels (a mean and a deviation for each row) and scalars that no operator returns.
    assert measure(make())[0] == pytest.approx(expected, abs=8192)


class Allocator:
    """Replaces the memory functions of `torch.cuda`, without a device: one peak for the process, which any caller may reset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.peak = 5000
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: self.now)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.peak)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: setattr(self, "peak", self.now))

    def allocate(self, count: int) -> None:
        self.now += count
        self.peak = max(self.peak, self.now)


def test_nested_contexts_share_the_peak_of_the_allocator(monkeypatch: pytest.MonkeyPatch):
    allocator = Allocator(monkeypatch)
    with PeakMemory("cuda") as outer:
        allocator.allocate(700)
        allocator.allocate(-600)
        with PeakMemory("cuda") as first:
            allocator.allocate(30)
            allocator.allocate(-10)
            assert first.live_bytes == 20
        with PeakMemory("cuda") as second:
            allocator.allocate(-120)
            assert outer.peak_bytes == 700
        allocator.allocate(50)
    allocator.allocate(9000)
    assert (first.peak_bytes, first.live_bytes) == (30, 20)
    assert (second.peak_bytes, second.live_bytes) == (0, -120)
    assert (outer.peak_bytes, outer.live_bytes) == (700, 50)


@pytest.mark.gpu
def test_cuda_agrees_with_a_hand_count():
    x = torch.randn(ROWS, 128, device="cuda")
    one = x.numel() * 4
    with PeakMemory("cuda") as outer:
        y = x + 1
        with PeakMemory("cuda") as inner:
            (x + 1).add_(1)
        x + 1 + 1 + 1
    assert inner.peak_bytes == one
    assert inner.live_bytes == 0
    assert outer.peak_bytes == 3 * one
    assert outer.live_bytes == y.numel() * 4
