"""`convert`: separate reversible layers become one stack. Outputs, parameters and names stay; memory is flat in depth."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GroupAddRev as PyGGroupAddRev

from revgnn.interop import GroupAddRev, convert
from revgnn.stack import Backprop
from revgnn.testing import assert_gradients_equal, peak_bytes
from tests.interop.peers import Block, Counting, Looping, Wrapper

MODELS = [(kind, make) for kind in (Looping, Counting) for make in (PyGGroupAddRev, GroupAddRev)] + [(Counting, Wrapper)]
"""The authors' coupling takes tensors only; `Looping` passes None in evaluation."""


@pytest.fixture
def inputs(random_graph) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(60, 6), random_graph.edge_index


def build(kind: type[Looping], make, **options) -> Looping:
    torch.manual_seed(0)
    return kind(make, **options)


@pytest.mark.parametrize(("kind", "make"), MODELS)
@pytest.mark.parametrize("groups", [2, 4])
def test_outputs_stay(kind, make, groups: int, inputs) -> None:
    """Bit for bit where the state is plain before and after; else they differ by rounding to the grid."""
    model = build(kind, make, groups=groups).eval()
    for module in model.modules():
        if isinstance(module, GroupAddRev):
            module.state = "plain"
    with torch.no_grad():
        before = model(*inputs)
        assert torch.equal(convert(copy.deepcopy(model), state="plain")(*inputs), before)
        on_grid = convert(copy.deepcopy(model), *inputs)(*inputs)
    assert not torch.equal(on_grid, before)
    torch.testing.assert_close(on_grid, before, rtol=0.0, atol=1e-3)


@pytest.mark.parametrize(("kind", "make"), MODELS)
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_gradients_are_exact(kind, make, norm, inputs) -> None:
    model = convert(build(kind, make, depth=28, norm=norm))
    stored = copy.deepcopy(model)
    stored.convs[0].chain.stack.gradient = Backprop()
    assert model.convs[0].chain.stack.gradient != Backprop()
    assert_gradients_equal(model, stored, *inputs)


@pytest.mark.parametrize("make", [PyGGroupAddRev, GroupAddRev, Wrapper])
def test_parameters_and_names_stay(make, inputs) -> None:
    """So an optimiser goes on, and checkpoints of the old model can be loaded."""
    model = build(Counting, make)
    names, parameters, saved = list(model.state_dict()), list(model.parameters()), copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert convert(model) is model
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert len(model.convs) == 5
    model(*inputs).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(p, saved[name]) for name, p in model.named_parameters() if p.grad.abs().sum() > 0)
    model.load_state_dict(saved)
    assert all(torch.equal(p, saved[name]) for name, p in model.named_parameters())
    model.convs[1].reset_parameters()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, saved[name])}
    assert changed
    assert all(name.startswith("convs.1.") for name in changed)


def test_a_converted_model_can_be_copied_saved_and_moved(inputs) -> None:
    model = convert(build(Looping, PyGGroupAddRev)).eval()
    out = model(*inputs)
    assert torch.equal(copy.deepcopy(model)(*inputs), out)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)  # our own bytes
    assert torch.equal(again(*inputs), out)
    assert again.convs[0].chain is again.convs[4].chain
    assert again.convs[3].convs[0].norm is again.convs[3].chain.stack.layers[3].blocks[0].norm
    assert model.double()(inputs[0].double(), inputs[1]).dtype == torch.float64


def test_memory_is_flat_in_depth(random_graph) -> None:
    def peak(depth: int, *, converted: bool) -> int:
        model = Looping(GroupAddRev, depth=depth).requires_grad_(False)
        model.lin1.requires_grad_(True)
        model = convert(model) if converted else model
        x = torch.randn(5000, 6)
        return peak_bytes(lambda: model(x, random_graph.edge_index).sum().backward())

    with pytest.warns(UserWarning, match="memory grows with depth"):
        assert peak(64, converted=False) > 4 * peak(8, converted=False)
    assert peak(64, converted=True) < 1.1 * peak(8, converted=True)


class Between(Looping):
    """Changes the state between two layers."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.lin1(x)
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return self.lin2(x)


class OtherArguments(Looping):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.lin1(x)
        for conv in self.convs:
            x = conv(x, edge_index, torch.ones_like(x))
        return self.lin2(x)


class OtherOrder(Looping):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.lin1(x)
        for n in (0, 2, 1, 3, 4):
            x = self.convs[n](x, edge_index)
        return self.lin2(x)


class Fewer(Looping):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.lin1(x)
        for conv in self.convs[:3]:
            x = conv(x, edge_index)
        return self.lin2(x)


class Reads(Looping):
    """Jumping knowledge: reads every state and changes none."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        states = [self.lin1(x)]
        for conv in self.convs:
            states.append(conv(states[-1], edge_index))
        return self.lin2(sum(states))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Between, r"the input of convs\.1 is not the output of convs\.0"),
        (OtherArguments, r"convs\.1 was called with other arguments than convs\.0"),
        (OtherOrder, r"convs\.2 was called, but after 1 layers the next one is convs\.1"),
        (Fewer, "called 3 of the 5 layers .* the outputs of that pass are wrong"),
    ],
)
def test_a_model_that_does_more_than_call_its_layers_is_refused(kind, message: str, inputs) -> None:
    model = convert(kind(GroupAddRev))
    with pytest.raises(RuntimeError, match=f"{message}.*cannot be converted"):  # noqa: PT012
        model(*inputs)
        model(*inputs)


@pytest.mark.parametrize("kind", [Between, OtherArguments, OtherOrder, Fewer, Reads])
@pytest.mark.parametrize("make", [PyGGroupAddRev, GroupAddRev])
def test_with_inputs_it_is_refused_at_once_and_stays_as_it_was(kind, make, inputs) -> None:
    model = kind(make)
    layers, modes, kept = list(model.convs), [m.training for m in model.modules()], inputs[0].clone()
    with pytest.raises((ValueError, RuntimeError), match=r"one stack gives other outputs|cannot be converted"):
        convert(model, *inputs)
    assert list(model.convs) == layers
    assert [m.training for m in model.modules()] == modes
    assert not any(layer.disable for layer in layers)
    assert torch.equal(inputs[0], kept)


def test_layers_between_others_and_two_lists() -> None:
    """RevGAT has other layers first and last."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            reversible = [GroupAddRev(Block(4), num_groups=2) for _ in range(5)]
            self.first = nn.ModuleList([nn.Linear(8, 8), *reversible[:3], nn.Linear(8, 8)])
            self.second = nn.ModuleList(reversible[3:])

    model = convert(Mixed())
    assert [type(m).__name__ for m in model.first] == ["Linear", "FlatLayer", "FlatLayer", "FlatLayer", "Linear"]
    assert len(model.first[1].chain.stack.layers) == 3
    assert len(model.second[0].chain.stack.layers) == 2


class Custom(PyGGroupAddRev):
    def _forward(self, x, edge_index, *args):
        return 2 * super()._forward(x, edge_index, *args)


def of(*layers: nn.Module) -> nn.Module:
    model = nn.Module()
    model.convs = nn.ModuleList(layers)
    return model


def hooked() -> nn.Module:
    layer = PyGGroupAddRev(Block(4), num_groups=2)
    layer.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(2, 2), "Linear has no reversible layers"),
        (lambda: PyGGroupAddRev(Block(4), num_groups=2), r"has 1 reversible layers \(the model itself\), but no two of them"),
        (lambda: of(PyGGroupAddRev(Block(4), num_groups=2)), r"has 1 reversible layers \(convs\.0\), but no two of them"),
        (
            lambda: of(*(PyGGroupAddRev(Block(4), num_groups=g) for g in (2, 4))),
            r"convs\.1 has 4 groups and convs\.0 has 2",
        ),
        (
            lambda: of(*(PyGGroupAddRev(Block(4), split_dim=0, num_groups=2) for _ in range(2))),
            r"convs\.0 cuts dimension 0 into groups",
        ),
        (lambda: of(hooked(), hooked()), r"convs\.0 has hooks"),
        (lambda: of(*(Custom(Block(4), num_groups=2) for _ in range(2))), r"convs\.0 is a Custom with a _forward of its own"),
        (
            lambda: of(PyGGroupAddRev(Block(4), num_groups=2), Wrapper(nn.ModuleList([Block(4), Block(4)]))),
            r"convs\.1 and convs\.0 are layers of different kinds: GroupAddRev, Wrapper",
        ),
    ],
)
def test_what_cannot_be_converted(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(make())
