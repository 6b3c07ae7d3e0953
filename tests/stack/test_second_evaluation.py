"""What the second evaluation of a block finds is what the first found; where it cannot be, an error says so."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch_geometric.nn import GCNConv, SAGEConv, SGConv, SuperGATConv

from revgnn.graph import Graph
from revgnn.nn import GATConv, GENBlock, GENConv, PreActivation
from revgnn.ops.dropout import current, dropout
from revgnn.stack import Backprop, Checkpoint, GradientStrategy, PerGroup, ResidualStack, Reversible, ReversibleStack
from revgnn.stack.host_access import BlockDraws, ImmediateHostAccess, SeededRandomness
from tests.stack.networks import outcome

RECOMPUTING = [Reversible(), Checkpoint(), Reversible(segments=2)]
every_strategy = pytest.mark.parametrize("strategy", RECOMPUTING, ids=str)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(60, 16)


@pytest.fixture
def edge_index() -> Tensor:
    return torch.randint(0, 60, (2, 300))


def stack_of(make: Callable[[], nn.Module], strategy: GradientStrategy, *, depth: int = 4, **kwargs) -> ReversibleStack:
    torch.manual_seed(1)
    return ReversibleStack([[make() for _ in range(2)] for _ in range(depth)], gradient=strategy, **kwargs)


def gradients(stack: nn.Module, x: Tensor, *args, between: Callable[[], object] = lambda: None, **kwargs) -> list[Tensor]:
    """Return the gradients of the input and of all parameters, with something done between forward and backward pass."""
    torch.manual_seed(2)
    x = x.clone().requires_grad_()
    loss = stack(x, *args, **kwargs).square().mean()
    between()
    loss.backward()
    assert x.grad is not None
    return [x.grad, *(torch.zeros_like(p) if p.grad is None else p.grad for p in stack.parameters())]


def assert_equal(got: list[Tensor], expected: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


# --- modes, rates, attributes ------------------------------------------------------------------------------------------------


def sage(norm: str = "layer", dropout: float = 0.0) -> Callable[[], nn.Module]:
    return lambda: PreActivation(SAGEConv(8, 8), norm, dropout=dropout)  # pyright: ignore[reportArgumentType]


@every_strategy
@pytest.mark.parametrize(("norm", "dropout"), [("layer", 0.5), ("batch", 0.0), ("batch", 0.3)])
@pytest.mark.parametrize("first", ["train", "eval"])
def test_modes_that_change_between_the_passes(strategy, norm, dropout, first, x, edge_index) -> None:
    """`eval()` before `backward()`, or an evaluation forward and `train()` before it."""
    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(sage(norm, dropout), gradient)
        stack(x, edge_index)  # moves the statistics of batch norm away from where they begin
        stack.train(first == "train")
        results.append(gradients(stack, x, edge_index, between=lambda stack=stack: stack.train(first != "train")))
        assert all(m.training == (first != "train") for m in stack.modules()), "the program's modes are left as they are"
        counts = {int(b) for name, b in stack.named_buffers() if name.endswith("num_batches_tracked")}
        assert counts <= {2 if first == "train" else 1}
    assert_equal(results[1], results[0])


@every_strategy
def test_rates_and_other_settings_that_change_between_the_passes(strategy, x, edge_index) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = SAGEConv(8, 8)
            self.norm = nn.LayerNorm(8)
            self.drop = nn.Dropout(0.2)
            self.activation = torch.relu
            self.scale = 0.5

        def forward(self, y, edge_index):
            return self.scale * self.drop(self.activation(self.inner(self.norm(y), edge_index)))

    def change(stack: nn.Module) -> None:
        for module in stack.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.7
            if isinstance(module, nn.LayerNorm):
                module.eps = 0.1
            if isinstance(module, Scaled):
                module.scale, module.activation = 2.0, torch.tanh

    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(Scaled, gradient)
        results.append(gradients(stack, x, edge_index, between=lambda stack=stack: change(stack)))
        block = stack.layers[0].blocks[0]
        assert (block.drop.p, block.norm.eps, block.scale, block.activation) == (0.7, 0.1, 2.0, torch.tanh)
    assert_equal(results[1], results[0])


@every_strategy
def test_a_counter_among_the_attributes_counts_one_evaluation(strategy, x) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.calls = 0

        def forward(self, y):
            self.calls += 1
            return self.linear(y) / self.calls

    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(Counts, gradient)
        results.append(gradients(stack, x))
        assert {block.calls for layer in stack.layers for block in layer.blocks} == {1}
    assert_equal(results[1], results[0])


@every_strategy
def test_a_submodule_that_is_replaced_between_the_passes(strategy, x) -> None:
    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(lambda: nn.Sequential(nn.Linear(8, 8), nn.Tanh()), gradient)
        parameters = list(stack.parameters())
        other = nn.Linear(8, 8)

        def replace(stack=stack, other=other) -> None:
            stack.layers[0].blocks[0][0] = other

        gradients(stack, x, between=replace)
        assert stack.layers[0].blocks[0][0] is other
        assert other.weight.grad is None
        results.append([p.grad for p in parameters])
    assert_equal(results[1], results[0])


# --- tensors that are overwritten --------------------------------------------------------------------------------------------


class Weighted(nn.Module):
    """A block that takes edges, edge features inside a dict, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = SAGEConv(8, 8)

    def forward(self, y, edge_index, extra, mask=None):
        h = self.inner(y, edge_index).tanh() * extra["scale"]
        return h if mask is None else h * mask


@every_strategy
@pytest.mark.parametrize("what", ["edge_index", "extra", "mask"])
def test_arguments_without_a_gradient_that_are_refilled(strategy, what, x, edge_index) -> None:
    mask = PerGroup([torch.ones(60, 8), torch.ones(60, 8)])
    given = {"edge_index": edge_index, "extra": {"scale": torch.rand(60, 1)}, "mask": mask}
    tensor = {"edge_index": edge_index, "extra": given["extra"]["scale"], "mask": mask[1]}[what]
    stack = stack_of(Weighted, strategy)
    with pytest.raises(RuntimeError, match=rf"argument '{what}'.* was changed in place between the forward and the backward pass"):
        gradients(stack, x, **given, between=lambda: tensor.zero_())


@every_strategy
def test_a_positional_argument_is_named_by_its_number(strategy, x, edge_index) -> None:
    with pytest.raises(RuntimeError, match=r"argument 0 after the state, of shape \(2, 300\)"):
        gradients(stack_of(sage(), strategy), x, edge_index, between=lambda: edge_index.zero_())


@every_strategy
@pytest.mark.parametrize("what", ["edge_attr", "src", "by_source"])
def test_tensors_inside_a_graph_that_are_overwritten(strategy, what, x, edge_index) -> None:
    graph = Graph.from_edge_index(edge_index, 60, torch.rand(300, 3))
    tensor = graph.by_source.dst if what == "by_source" else getattr(graph, what)
    stack = stack_of(lambda: GENBlock(GENConv(8, 8, "max", norm="layer", bias=True)), strategy)
    with pytest.raises(RuntimeError, match="a tensor of argument 0 after the state"):
        gradients(stack, x, graph, between=lambda: tensor.zero_())


@every_strategy
def test_frozen_parameters_that_are_overwritten(strategy, x, edge_index) -> None:
    stack = stack_of(sage(), strategy)
    weight = stack.layers[2].blocks[1].conv.lin_l.weight.requires_grad_(False)
    with pytest.raises(
        RuntimeError, match=r"parameter conv\.lin_l\.weight of block 1 of layer 2 \(PreActivation\) was changed in place"
    ):
        gradients(stack, x, edge_index, between=lambda: weight.mul_(2))


@every_strategy
def test_buffers_that_are_overwritten(strategy, x, edge_index) -> None:
    """In evaluation mode the statistics of batch norm are part of the function; training in between moves them."""
    stack = stack_of(sage("batch"), strategy).eval()

    def train_meanwhile() -> None:
        with torch.no_grad():
            stack.train()(x, edge_index)

    with pytest.raises(RuntimeError, match=r"buffer norm\.\w+ of block 0 of layer \d \(PreActivation\) was changed in place"):
        gradients(stack, x, edge_index, between=train_meanwhile)


@every_strategy
def test_in_training_mode_the_statistics_may_move(strategy, x, edge_index) -> None:
    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(sage("batch"), gradient)
        results.append(gradients(stack, x, edge_index, between=lambda stack=stack: stack(2 * x, edge_index)))
    assert_equal(results[1], results[0])


# --- which tensors are parameters ----------------------------------------------------------------------------------------------


@every_strategy
def test_functional_call(strategy, x, edge_index) -> None:
    """The parameters that a call replaces are no longer there in the backward pass."""
    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(sage("batch"), gradient)
        scale = torch.tensor(0.5, requires_grad=True)
        replaced = {name: p.detach() * scale for name, p in stack.named_parameters()}
        replaced |= {name: b.clone() for name, b in stack.named_buffers()}
        h = x.clone().requires_grad_()
        loss = torch.func.functional_call(stack, replaced, (h, edge_index)).square().mean()
        loss.backward()
        assert all(p.grad is None for p in stack.parameters())
        results.append([h.grad, scale.grad])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


@every_strategy
@pytest.mark.parametrize("first", [True, False])
def test_parameters_that_are_frozen_or_released_between_the_passes(strategy, first, x, edge_index) -> None:
    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(sage(), gradient)
        weight = stack.layers[1].blocks[0].conv.lin_l.weight.requires_grad_(first)
        results.append(gradients(stack, x, edge_index, between=lambda weight=weight: weight.requires_grad_(not first)))
        assert weight.requires_grad != first
    assert_equal(results[1], results[0])


@every_strategy
def test_cached_parametrizations(strategy, x) -> None:
    class Symmetric(nn.Module):
        def forward(self, w):
            return w.triu() + w.triu(1).T

    def make() -> nn.Module:
        linear = nn.Linear(8, 8)
        parametrize.register_parametrization(linear, "weight", Symmetric())
        return nn.Sequential(linear, nn.Tanh())

    results = []
    for gradient in (Backprop(), strategy):
        stack = stack_of(make, gradient)
        for _ in range(2):
            stack.zero_grad()
            with parametrize.cached():
                found = gradients(stack, x)
        results.append(found)
    assert all(g.abs().max() > 0 for g in results[1])
    assert_equal(results[1], results[0])


# --- in-place -----------------------------------------------------------------------------------------------------------------


def begins_with_relu(inplace: bool) -> Callable[[], nn.Module]:
    return lambda: PreActivation(SAGEConv(8, 8), "none", activation=nn.ReLU(inplace=inplace))


@pytest.mark.parametrize("strategy", [Backprop(), *RECOMPUTING], ids=str)
@pytest.mark.parametrize("state", ["grid", "float64", "plain"])
def test_a_block_that_writes_to_its_input(strategy, state, x, edge_index) -> None:
    """It is given a copy: the input is the state of the stack."""
    if state == "plain" and isinstance(strategy, Reversible):
        pytest.skip("drifts")
    stack, expected = (stack_of(begins_with_relu(inplace), strategy, state=state) for inplace in (True, False))
    for _ in range(2):
        stack.zero_grad(), expected.zero_grad()
        assert_equal(gradients(stack, x, edge_index), gradients(expected, x, edge_index))


@pytest.mark.parametrize("strategy", [Backprop(), Reversible()], ids=str)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("mode", [True, False])
def test_a_block_that_writes_to_its_input_in_inference(strategy, context, mode, x, edge_index) -> None:
    stack, expected = (stack_of(begins_with_relu(inplace), strategy).train(mode) for inplace in (True, False))
    h = x.clone()
    for _ in range(2):
        with context():
            assert torch.equal(stack(h, edge_index), expected(h, edge_index))
    assert torch.equal(h, x)


def test_a_compiled_block_that_writes_to_its_input(x, edge_index) -> None:
    stack, expected = (stack_of(begins_with_relu(inplace), Backprop()) for inplace in (True, False))
    compiled = torch.compile(stack, backend="aot_eager")
    torch.testing.assert_close(compiled(x, edge_index), expected(x, edge_index))


@every_strategy
def test_only_blocks_that_write_are_given_copies(strategy, x, edge_index) -> None:
    """After their first evaluation, the others get the state itself."""
    for inplace in (True, False):
        stack, storages = stack_of(begins_with_relu(inplace), strategy), []
        stack.layers[0].blocks[1].register_forward_pre_hook(lambda module, args, seen=storages: seen.append(args[0].data_ptr()))
        calls: list[int] = []
        advance = stack.layers[0].advance
        stack.layers[0].advance = lambda state, step, advance=advance, calls=calls: advance(
            state, lambda i, a, y: (calls.append(y.data_ptr()), step(i, a, y))[1]
        )
        for _ in range(3):
            with torch.no_grad():
                stack(x, edge_index)
        shared = [given == of_stack for given, of_stack in zip(storages, calls[1::2], strict=True)]
        assert shared == ([False, False, False] if inplace else [False, True, True])


def test_a_block_that_begins_to_write_later_is_noticed(x) -> None:
    class Late(nn.Module):
        inplace = False

        def forward(self, y):
            return nn.functional.relu(y, inplace=self.inplace) / 2

    stack = ReversibleStack([[Late(), Late()]])
    with torch.no_grad():
        expected = stack(x)
        stack.layers[0].blocks[1].inplace = True
        with pytest.raises(RuntimeError, match=r"block 1 of layer 0 \(Late\) has begun to write to its input in place"):
            stack(x)
        assert torch.equal(stack(x), expected)


@pytest.mark.parametrize("strategy", [Backprop(), *RECOMPUTING], ids=str)
def test_writing_in_place_to_what_is_the_blocks_own(strategy, x, edge_index) -> None:
    def make(inplace: bool) -> Callable[[], nn.Module]:
        return lambda: PreActivation(SAGEConv(8, 8), activation=nn.LeakyReLU(0.1, inplace=inplace))

    assert_equal(
        gradients(stack_of(make(True), strategy), x, edge_index), gradients(stack_of(make(False), strategy), x, edge_index)
    )
    with torch.inference_mode():
        stack_of(make(True), strategy)(x, edge_index)


def test_a_residual_block_that_writes_to_its_input(x) -> None:
    def stack(inplace: bool) -> ResidualStack:
        torch.manual_seed(1)
        return ResidualStack([nn.Sequential(nn.ReLU(inplace), nn.Linear(16, 16)) for _ in range(4)], gradient=Checkpoint())

    assert_equal(gradients(stack(True), x), gradients(stack(False), x))


# --- tensors from inside a block ----------------------------------------------------------------------------------------------


LOST = r"a gradient reached a tensor inside block \d of layer \d"


@every_strategy
@pytest.mark.parametrize("steps", [1, 2])
def test_a_loss_from_hooked_activations_is_refused(strategy, steps, x, edge_index) -> None:
    stack, seen = stack_of(sage(), strategy), []
    stack.layers[1].blocks[0].conv.register_forward_hook(lambda module, args, out: seen.append(out))
    for step in range(steps):
        seen.clear()
        loss = stack(x, edge_index).square().mean()
        if step == steps - 1:
            with pytest.raises(RuntimeError, match=LOST):
                (loss + seen[0].square().mean()).backward()
        else:
            loss.backward()


@every_strategy
def test_hooks_that_only_look_change_nothing(strategy, x, edge_index) -> None:
    plain, hooked = (stack_of(sage(dropout=0.2), strategy) for _ in range(2))
    seen = []
    for module in hooked.modules():
        if isinstance(module, SAGEConv):
            module.register_forward_hook(lambda module, args, out: seen.append(float(out.detach().norm())))
    for _ in range(2):
        plain.zero_grad(), hooked.zero_grad()
        assert_equal(gradients(hooked, x, edge_index), gradients(plain, x, edge_index))
    assert len(seen) == 2 * 2 * 8


@every_strategy
def test_the_attention_loss_of_supergat_is_refused(strategy, x, edge_index) -> None:
    """The convolution keeps what its loss is computed from."""
    stack = stack_of(lambda: PreActivation(SuperGATConv(8, 8)), strategy)
    for _ in range(2):
        value = stack(x, edge_index)
        with pytest.raises(RuntimeError, match=LOST):
            (value.mean() + stack.layers[0].blocks[1].conv.get_attention_loss()).backward()


@every_strategy
def test_supergat_without_its_loss(strategy, x, edge_index) -> None:
    """The negative edges are drawn from NumPy or Python, but only for the loss."""
    make = lambda: PreActivation(SuperGATConv(8, 8))  # noqa: E731
    for _ in range(2):
        assert_equal(gradients(stack_of(make, strategy), x, edge_index), gradients(stack_of(make, Backprop()), x, edge_index))


@every_strategy
def test_a_loss_that_a_block_hands_to_the_outside_is_refused(strategy, x) -> None:
    losses: list[Tensor] = []

    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, y):
            h = self.linear(y).tanh()
            losses.append(h.abs().mean())
            return h

    stack = stack_of(Sparse, strategy)
    for _ in range(3):
        losses.clear()
        loss = stack(x).square().mean()
        with pytest.raises(RuntimeError, match=LOST):
            (loss + torch.stack(losses).sum()).backward()


# --- caches ------------------------------------------------------------------------------------------------------------------


@every_strategy
def test_cached_propagation_of_the_state(strategy, x, edge_index) -> None:
    """`SGConv(cached=True)` stores what its input was propagated to: it depends on its input in the first step alone."""
    stack, expected = (stack_of(lambda: SGConv(8, 8, cached=True), how) for how in (strategy, Backprop()))
    for step in range(3):
        stack.zero_grad(), expected.zero_grad()
        assert_equal(gradients(stack, x + step, edge_index), gradients(expected, x + step, edge_index))


@every_strategy
def test_a_cache_that_is_differentiated_in_a_later_step_is_refused(strategy, x) -> None:
    """Plain backpropagation through it fails too: its graph has been freed."""

    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.first = None

        def forward(self, y):
            if self.first is None:
                self.first = y.tanh()
            return self.linear(self.first)

    stack, expected = (stack_of(Cached, how) for how in (strategy, Backprop()))
    assert_equal(gradients(stack, x), gradients(expected, x))
    with pytest.raises(RuntimeError, match=LOST):
        gradients(stack, x)
    with pytest.raises(RuntimeError, match="second time"):
        gradients(expected, x)


@every_strategy
def test_cached_normalisation(strategy, x, edge_index) -> None:
    """`GCNConv(cached=True)` stores normalised edge weights."""
    stack, expected = (stack_of(lambda: GCNConv(8, 8, cached=True), how) for how in (strategy, Backprop()))
    for _ in range(3):
        stack.zero_grad(), expected.zero_grad()
        assert_equal(gradients(stack, x, edge_index), gradients(expected, x, edge_index))


def test_cached_normalisation_of_weights_that_are_learned(x, edge_index) -> None:
    results = []
    weight = torch.rand(300).requires_grad_()
    for gradient in (Backprop(), Reversible()):
        weight.grad = None
        stack = stack_of(lambda: GCNConv(8, 8, cached=True), gradient)
        gradients(stack, x, edge_index, weight)
        results.append([weight.grad])
    assert_equal(results[1], results[0])
    with pytest.raises(RuntimeError, match=LOST):
        gradients(stack, x, edge_index, weight)


# --- the checksum ----------------------------------------------------------------------------------------------------------------


class Draws(nn.Module):
    """Adds numbers from a source that the stack does not know."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.__dict__["draw"] = draw

    def forward(self, y):
        return self.linear(y).tanh() * self.draw()


generator = torch.Generator()
calls = [0]


def count() -> float:
    calls[0] += 1
    return 1 / calls[0]


SOURCES = {
    "numpy": np.random.random,
    "python": random.random,
    "another generator": lambda: float(torch.rand((), generator=generator)),
    "a counter": count,
}


@every_strategy
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_values_that_do_not_repeat_are_an_error(strategy, source, x) -> None:
    stack = stack_of(lambda: Draws(source), strategy)
    with pytest.raises(RuntimeError, match=r"layers \d to \d of the stack gave other values when they were evaluated again.*NumPy"):
        gradients(stack, x)


@pytest.mark.parametrize("strategy", [Reversible(segments=6), Checkpoint(every=1)], ids=str)
def test_the_error_can_be_made_to_name_the_layer(strategy, x) -> None:
    """With a segment for each layer."""
    torch.manual_seed(1)
    blocks = [[nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(2)] for _ in range(6)]
    blocks[3][1] = Draws(np.random.random)
    with pytest.raises(RuntimeError, match="layers 3 to 3 of the stack"):
        gradients(ReversibleStack(blocks, gradient=strategy), x)


@pytest.mark.parametrize("strategy", [Reversible(verify=False), Checkpoint(verify=False)], ids=str)
def test_the_checksum_can_be_switched_off(strategy, x) -> None:
    gradients(stack_of(lambda: Draws(np.random.random), strategy), x)


def test_a_state_in_plain_floating_point_is_not_compared_when_it_is_reversed(x, edge_index) -> None:
    gradients(stack_of(sage(), Reversible(), state="plain", depth=40), x, edge_index)
    gradients(stack_of(sage(), Checkpoint(), state="plain", depth=40), x, edge_index)
    with pytest.raises(RuntimeError, match="gave other values"):
        gradients(stack_of(lambda: Draws(np.random.random), Checkpoint(), state="plain"), x)


@every_strategy
@pytest.mark.parametrize("state", ["grid", "float64"])
@pytest.mark.parametrize("shape", [(1, 2), (7, 6), (0, 4), (300, 10)])
def test_the_checksum_takes_any_shape_and_zeros_of_either_sign(strategy, state, shape, x) -> None:
    torch.manual_seed(1)
    width = shape[1] // 2
    blocks = [[nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(2)] for _ in range(4)]
    h = torch.randn(shape) * 1e-4  # many of them round to zero, half of those from below
    gradients(ReversibleStack(blocks, gradient=strategy, state=state), h)


def test_data_changed_without_torchs_knowledge_is_an_error(x, edge_index) -> None:
    stack = stack_of(sage(), Reversible())
    weight = stack.layers[1].blocks[1].conv.lin_l.weight
    with pytest.raises(RuntimeError, match="layers 0 to 3 of the stack gave other values"):
        gradients(stack, x, edge_index, between=lambda: weight.data.mul_(1.01))


# --- random numbers ----------------------------------------------------------------------------------------------------------


class Meanwhile:
    """Another thread that draws from torch's default generator all the time."""

    def __enter__(self) -> Meanwhile:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.draw)
        self.thread.start()
        return self

    def draw(self) -> None:
        while not self.stop.is_set():
            torch.rand(3)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


OURS = {
    "own dropout": lambda: GENBlock(GENConv(8, 8), dropout=0.3),
    "attention": lambda: PreActivation(GATConv(8, 8, dropout=0.3, edge_dropout=0.2), dropout=0.3),
}


FOREIGN = {
    "dropout in a sequence": lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Tanh()),
    "ours around another": lambda: PreActivation(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3)), channels=8, dropout=0.3),
}


@pytest.fixture
def same_seed(monkeypatch) -> None:
    """Every run has the same seed, whatever has been drawn before."""
    monkeypatch.setattr(ImmediateHostAccess, "block_randomness", lambda self, device: SeededRandomness(device, 5))


@pytest.mark.usefixtures("same_seed")
@pytest.mark.parametrize("strategy", [Backprop(), Reversible(), Checkpoint()], ids=str)
@pytest.mark.parametrize("make", OURS.values(), ids=OURS.keys())
def test_another_thread_that_draws_does_not_disturb_our_dropout(strategy, make, random_graph, x) -> None:
    expected = gradients(stack_of(make, Backprop(), depth=20), x, random_graph)
    stack = stack_of(make, strategy, depth=20)
    with Meanwhile():
        for _ in range(3):
            stack.zero_grad()
            assert_equal(gradients(stack, x, random_graph), expected)


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_another_thread_that_disturbs_other_dropout_is_noticed(make, x) -> None:
    """Gradients are right, or there is an error."""
    stack, noticed = stack_of(make, Reversible(), depth=20), 0
    with Meanwhile():
        for _ in range(20):
            try:
                gradients(stack, x)
            except RuntimeError as error:
                assert "by another thread" in str(error)  # noqa: PT017 (there may be none)
                noticed += 1
    assert noticed


@pytest.mark.parametrize("make", OURS.values(), ids=OURS.keys())
def test_our_blocks_leave_torchs_default_generator_alone(make, random_graph, x, monkeypatch) -> None:
    """Another thread may be using it."""
    whole = SeededRandomness.__init__

    def without_generators(self: SeededRandomness, device: torch.device, seed: int) -> None:
        whole(self, device, seed)
        self._generators = None  # pyright: ignore[reportAttributeAccessIssue]

    monkeypatch.setattr(SeededRandomness, "__init__", without_generators)
    gradients(stack_of(make, Reversible()), x, random_graph)
    with pytest.raises(TypeError):
        gradients(stack_of(FOREIGN["dropout in a sequence"], Reversible()), x)


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_other_dropout_is_replayed_by_torchs_default_generator(make, x) -> None:
    results = [gradients(stack_of(make, how), x) for how in (Backprop(), Reversible(), Checkpoint())]
    assert_equal(results[1], results[0])
    assert_equal(results[2], results[0])


def test_ours_and_other_dropout_in_one_block_draw_different_numbers() -> None:
    masks: list[Tensor] = []

    class Other(nn.Module):
        def forward(self, h):
            masks.extend((h == 0, nn.functional.dropout(torch.ones_like(h), 0.5) == 0))
            return h

    block = PreActivation(Other(), nn.Identity(), activation=nn.Identity(), dropout=0.5)
    ReversibleStack([[block, block]])(torch.ones(200, 16))
    assert 0.4 < float((masks[0] == masks[1]).double().mean()) < 0.6


def test_torch_manual_seed_governs_our_dropout(x, random_graph) -> None:
    stack = stack_of(OURS["attention"], Reversible())
    torch.manual_seed(3)
    first, after_first = stack(x, random_graph), torch.rand(1)
    second = stack(x, random_graph)
    torch.manual_seed(3)
    assert torch.equal(stack(x, random_graph), first)
    assert torch.equal(torch.rand(1), after_first)
    assert not torch.equal(first, second)


def test_outside_a_stack_our_dropout_is_torchs() -> None:
    h = torch.randn(50, 8)
    torch.manual_seed(0)
    expected = nn.functional.dropout(h, 0.3)
    torch.manual_seed(0)
    assert torch.equal(dropout(h, 0.3, training=True), expected)
    current.draws = BlockDraws()
    try:
        current.draws.restart(0)
        assert torch.equal(dropout(h, 0.3, training=True), expected), "the same numbers from the same seed"
        assert torch.equal(dropout(h, 0.3, training=False), h)
    finally:
        current.draws = None
    torch.manual_seed(0)
    assert torch.equal(dropout(h, 0.3, training=True), expected)


# --- norms at the end of a block ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.InstanceNorm1d, lambda n: nn.GroupNorm(2, n), nn.LayerNorm])
@pytest.mark.parametrize("state", ["grid", "float64", "plain"])
@pytest.mark.parametrize("groups", [2, 3])
def test_blocks_that_end_in_a_norm(norm, state, groups, edge_index) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = SAGEConv(8, 8), norm(8)

        def forward(self, y, edge_index):
            return self.norm(self.conv(y.tanh(), edge_index))

    torch.manual_seed(1)
    stack = ReversibleStack([[Last() for _ in range(groups)] for _ in range(5)], state=state)
    h = torch.randn(60, 8 * groups)
    stack.gradient = Backprop()
    expected = outcome(stack, h, edge_index)
    for strategy in [Checkpoint(), Checkpoint(every=1), *([] if state == "plain" else [Reversible(), Reversible(segments=2)])]:
        stack.gradient = strategy
        outcome(stack, h, edge_index).assert_same(expected)


def test_a_gradient_that_arrives_expanded(edge_index) -> None:
    make = lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))  # noqa: E731
    results = []
    for how in (Backprop(), Reversible(), Checkpoint()):
        stack = stack_of(make, how)
        h = torch.randn(60, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        stack(h).sum().backward()
        results.append([h.grad, *(p.grad for p in stack.parameters())])
    assert_equal(results[1], results[0])
    assert_equal(results[2], results[0])
