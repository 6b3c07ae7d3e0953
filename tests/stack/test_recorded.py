"""Stacks that are traced, exported, counted, cast as a whole, or sharded: they work, or say what to do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.nn import SAGEConv

from revgnn.nn import GENBlock, GENConv, PreActivation
from revgnn.stack import AdditiveCoupling, Backprop, Checkpoint, GradientStrategy, Reversible, ReversibleStack, run_stack
from tests.stack.networks import outcome

STRATEGIES = [Backprop(), Checkpoint(), Reversible(), Reversible(segments=2)]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=str)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(60, 16)


@pytest.fixture
def edge_index() -> Tensor:
    return torch.randint(0, 60, (2, 300))


def sage_stack(strategy: GradientStrategy, **kwargs) -> ReversibleStack:
    torch.manual_seed(1)
    blocks = [[PreActivation(SAGEConv(8, 8)) for _ in range(2)] for _ in range(4)]
    return ReversibleStack(blocks, gradient=strategy, **kwargs)


class OnAGraph(nn.Module):
    """A stack of our own operators on one graph."""

    def __init__(self, strategy: GradientStrategy, graph) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stack = ReversibleStack(
            [[GENBlock(GENConv(8, 8, "max", norm="layer", bias=True)) for _ in range(2)] for _ in range(3)], gradient=strategy
        )
        self.graph = graph

    def forward(self, x):
        return self.stack(x, self.graph)


# --- traced and exported -------------------------------------------------------------------------------------------------------


VALUE_ONLY = r"recorded by torch\.jit\.trace or torch\.export gives its value only.*train the stack itself"


@every_strategy
def test_a_trace_gives_the_value(strategy, x, edge_index, tmp_path: Path) -> None:
    stack = sage_stack(strategy).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch Geometric, and that TorchScript is deprecated
        torch.jit.trace(stack, (x, edge_index)).save(str(tmp_path / "stack.pt"))
        traced = torch.jit.load(str(tmp_path / "stack.pt"))
        assert torch.equal(traced(2 * x, edge_index), stack(2 * x, edge_index))
    with pytest.raises(RuntimeError, match=VALUE_ONLY):
        traced(x, edge_index).sum().backward()


@every_strategy
def test_a_trace_of_our_own_operators(strategy, x, random_graph) -> None:
    model = OnAGraph(strategy, random_graph).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(torch.jit.trace(model, (x,))(2 * x), model(2 * x))


@pytest.mark.filterwarnings("ignore")
@every_strategy
@pytest.mark.parametrize("whole", [True, False])
def test_tracing_with_gradients_is_refused(strategy, whole, x, edge_index) -> None:
    stack = sage_stack(strategy)
    module = stack if whole else Run(stack.layers, strategy)
    with pytest.raises(RuntimeError, match=r"gradients are enabled; trace inside `with torch\.no_grad"):
        torch.jit.trace(module, (x, edge_index))


class Run(nn.Module):
    def __init__(self, layers, strategy) -> None:
        super().__init__()
        self.layers, self.strategy = layers, strategy

    def forward(self, x, *args):
        return run_stack(list(self.layers), x, *args, gradient=self.strategy)


@pytest.mark.parametrize(
    ("strategy", "strict"),
    # dynamo, which traces strictly, takes 5 seconds a stack
    [
        *((strategy, False) for strategy in STRATEGIES),
        (Reversible(), True),
        *(pytest.param(strategy, True, marks=pytest.mark.slow) for strategy in (Backprop(), Checkpoint(), Reversible(segments=2))),
    ],
    ids=str,
)
def test_an_export_gives_the_value(strategy, strict, x, edge_index) -> None:
    stack = sage_stack(strategy).eval()
    program = torch.export.export(stack, (x, edge_index), strict=strict).module()
    assert torch.equal(program(2 * x, edge_index), stack(2 * x, edge_index))
    with pytest.raises(RuntimeError, match="does not require grad" if strict else VALUE_ONLY):
        program(x, edge_index).sum().backward()


@every_strategy
def test_an_export_of_our_own_operators(strategy, x, random_graph) -> None:
    model = OnAGraph(strategy, random_graph).eval()
    assert torch.equal(torch.export.export(model, (x,)).module()(2 * x), model(2 * x))


# --- counted -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", [False, True])
def test_floating_point_operations_are_counted(argument, x, edge_index) -> None:
    """A second evaluation counts."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, y, scale=None):
            h = self.linear(y).tanh()
            return h if scale is None else h * scale

    counted, grads = {}, {}
    for strategy in STRATEGIES:
        torch.manual_seed(1)
        stack = ReversibleStack([[Scaled() for _ in range(2)] for _ in range(4)], gradient=strategy)
        scale = [torch.ones(8, requires_grad=True)] if argument else []
        h = x.clone().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            stack(h, *scale).square().sum().backward()
        counted[strategy] = counter.get_total_flops()
        grads[strategy] = [h.grad, *(p.grad for p in stack.parameters())]
    forward = 8 * 2 * 60 * 8 * 8
    assert counted[Backprop()] == 3 * forward
    assert {counted[s] for s in STRATEGIES[1:]} == {4 * forward}
    for strategy in STRATEGIES[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[strategy], grads[Backprop()], strict=True))


# --- cast as a whole ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("make", [lambda: PreActivation(SAGEConv(8, 8)), lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 8))])
def test_a_stack_in_16_bits(make, dtype, x, edge_index) -> None:
    """Blocks see 16 bits, the state has float32, and all strategies agree to the last bit."""
    torch.manual_seed(1)
    stack = ReversibleStack([[make() for _ in range(2)] for _ in range(8)]).to(dtype)
    args = (edge_index,) if isinstance(stack.layers[0].blocks[0], PreActivation) else ()
    stack.gradient = Backprop()
    expected = outcome(stack, x.to(dtype), *args)
    assert expected.value.dtype == dtype
    assert {g.dtype for g in expected.grads} == {dtype}
    for strategy in STRATEGIES[1:]:
        stack.gradient = strategy
        outcome(stack, x.to(dtype), *args).assert_same(expected)


def test_a_stack_in_16_bits_with_an_input_of_32(x, edge_index) -> None:
    """As at the border of a network that is cast in part: the result has the dtype of the input."""
    stack = sage_stack(Reversible()).bfloat16()
    out = stack(x, edge_index)
    assert out.dtype == torch.float32
    out.sum().backward()
    assert all(p.grad is not None for p in stack.parameters())


def test_our_operators_in_16_bits(x, random_graph) -> None:
    torch.manual_seed(1)
    results = []
    for strategy in (Backprop(), Reversible()):
        model = OnAGraph(strategy, random_graph).bfloat16()
        model(x.bfloat16()).float().square().sum().backward()
        results.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# --- layers are called --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "calls"), [(Backprop(), 1), (Checkpoint(), 2), (Reversible(), 1)], ids=str)
def test_hooks_of_layers_run(strategy, calls, x, edge_index) -> None:
    stack, seen = sage_stack(strategy), []
    stack.layers[2].register_forward_hook(lambda layer, args, out: seen.append(out))
    stack(x, edge_index).sum().backward()
    assert len(seen) == calls
    assert all(tuple(part.shape) == (60, 8) for out in seen for part in out)


# --- sharded ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    """One process: FSDP2 replaces parameters and calls hooks as it does with many."""
    if dist.is_initialized():
        pytest.skip("a process group is in use")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def shard(stack: ReversibleStack, where: str, mesh: DeviceMesh) -> None:
    for layer in stack.layers:
        assert isinstance(layer, AdditiveCoupling)
        for part in layer.blocks if where == "blocks" else [layer] if where == "layers" else []:
            fully_shard(part, mesh=mesh)
    if where.startswith("stack"):
        fully_shard(stack, mesh=mesh, reshard_after_forward=where == "stack, resharded")


@pytest.mark.parametrize("where", ["stack", "stack, resharded", "layers", "blocks"])
@every_strategy
def test_fsdp(strategy, where, mesh, x, edge_index) -> None:
    expected, stack = (sage_stack(strategy) for _ in range(2))
    shard(stack, where, mesh)
    if where in ("layers", "blocks") and strategy.recomputes:
        with pytest.raises(RuntimeError, match=r"parameter norm\.weight of block 0 of layer 0 .*call fully_shard on the stack"):
            stack(x, edge_index)
        return
    for _ in range(2):
        for s in (expected, stack):
            s.zero_grad()
            s(x, edge_index).square().sum().backward()
        for a, b in zip(expected.parameters(), stack.parameters(), strict=True):
            assert torch.equal(a.grad, b.grad.full_tensor())
