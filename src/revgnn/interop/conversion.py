"""`convert`: the separate reversible layers of a model become one stack, whose memory does not grow with depth."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_geometric.nn.models.rev_gnn import GroupAddRev as PyGGroupAddRev

from revgnn.interop.group_add_rev import GroupAddRev, split_by_group
from revgnn.nn.fusion import has_hooks
from revgnn.stack import PerGroup, ReversibleStack
from revgnn.stack.stack import StateKind


def convert(model: nn.Module, *inputs: Any, state: StateKind = "grid", segments: int = 1) -> nn.Module:
    """Let the reversible layers of a model run as one stack: memory flat in depth, exact gradients. The model is changed in place.

    Layers that stand one after another in a `ModuleList` are found: PyTorch Geometric's `GroupAddRev`, ours, and the wrapped
    couplings of the authors' code (`_fn.Fms`). The model's own `forward` stays as it is, whether it loops over the list or takes
    its elements by number: the first layer that it calls runs the whole stack, and the others return their input. That is right
    only if the model calls the layers in their order, once each, the output of one being the input of the next, with the same
    further arguments. A call of any other kind is an error. What a model reads between two layers, without changing it, cannot be
    seen: pass `inputs`.

    The parameters are the same objects, under the same names: an optimiser made before goes on, and checkpoints can be loaded.

    Args:
        model: the model.
        inputs: arguments of `model`. With them, the model is run in evaluation mode before and after, and its outputs must be
            equal bit for bit when the state is kept as the old layers kept it (`state="plain"`). Tensors among them are not
            changed.
        state: how the node state is kept, see `revgnn.Stack`. "grid": gradients are exact, and outputs differ from those before
            by the rounding of the state and of each convolution's result to multiples of 2^-14. "plain": outputs are those
            before, bit for bit, and gradients are as near as rounding allows.
        segments: see `Reversible`.

    Returns:
        The model.

    Raises:
        ValueError: if no two reversible layers follow one another in a `ModuleList`, if layers do not fit together, or if the
            outputs for `inputs` differ. The model is then as before.
    """
    runs = list(_runs(model))
    if not runs:
        raise ValueError(_nothing_found(model))
    replaced = [(run, _flat_layers(run, state, segments)) for run in runs]
    before = _outputs(model, inputs, [layer for run in runs for layer in run.layers]) if inputs else None
    for run, flat in replaced:
        for n, layer in enumerate(flat, start=run.start):
            run.owner[n] = layer
    try:
        if before is not None:
            _check_outputs(before, _outputs(model, inputs, [flat[0].chain.stack for _, flat in replaced]))
    except BaseException:
        for run, _ in replaced:
            for n, layer in enumerate(run.layers, start=run.start):
                run.owner[n] = layer
        raise
    return model


# --- the layers of a model --------------------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """A reversible layer of any origin."""

    name: str
    """In the model."""
    blocks: list[nn.Module]
    """One for each group."""
    split_dim: int
    split: Callable[[Tensor, Any, Sequence[Any], int, int], list[Any]]
    """How further arguments are cut into groups; as `split_by_group`."""


@dataclass
class Run:
    """Reversible layers that follow one another in a list."""

    owner: nn.ModuleList
    start: int
    """The place of the first in the list."""
    layers: list[nn.Module]
    read: list[Layer]


def _runs(model: nn.Module) -> Iterator[Run]:
    """Yield the places of a model where two or more reversible layers follow one another."""
    for name, owner in model.named_modules():
        if not isinstance(owner, nn.ModuleList):
            continue
        run: Run | None = None
        for n, module in enumerate(owner):
            layer = _read(module, f"{name}.{n}" if name else str(n))
            if layer is None:
                if run is not None and len(run.layers) > 1:
                    yield run
                run = None
                continue
            run = run or Run(owner, n, [], [])
            run.layers.append(module)
            run.read.append(layer)
        if run is not None and len(run.layers) > 1:
            yield run


def _read(module: nn.Module, name: str) -> Layer | None:
    """Return a reversible layer, or None for any other module."""
    if isinstance(module, GroupAddRev):
        return Layer(name, list(module.convs), module.split_dim, split_by_group)
    if isinstance(module, PyGGroupAddRev):
        if type(module)._forward is not PyGGroupAddRev._forward:
            raise ValueError(f"{name} is a {type(module).__name__} with a _forward of its own, which a stack would not run.")
        return Layer(name, list(module.convs), module.split_dim, split_by_group)
    coupling = getattr(module, "_fn", None)
    blocks = getattr(coupling, "Fms", None)
    if isinstance(blocks, nn.ModuleList):
        return Layer(name, list(blocks), getattr(coupling, "split_dim", -1), _split_every_tensor)
    return None


def _split_every_tensor(x: Tensor, edge_index: Any, args: Sequence[Any], groups: int, dim: int) -> list[Any]:
    """Return the further arguments as the authors' coupling cuts them: every tensor, whatever its width."""
    return [PerGroup(arg.chunk(groups, dim=dim)) if isinstance(arg, Tensor) else arg for arg in args]


def _nothing_found(model: nn.Module) -> str:
    named = [(name, _read(module, name)) for name, module in model.named_modules()]
    found = [name or "the model itself" for name, layer in named if layer is not None]
    if not found:
        return (
            f"{type(model).__name__} has no reversible layers: neither GroupAddRev of PyTorch Geometric or revgnn, nor the "
            "authors' wrapped couplings (_fn.Fms). Build a revgnn.ReversibleStack instead."
        )
    shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
    return (
        f"{type(model).__name__} has {len(found)} reversible layers ({shown}), but no two of them follow one another in a "
        "ModuleList. Put the layers of a stack into one ModuleList."
    )


def _flat_layers(run: Run, state: StateKind, segments: int) -> list[FlatLayer]:
    first = run.read[0]
    for layer, module in zip(run.read, run.layers, strict=True):
        if len(layer.blocks) != len(first.blocks):
            raise ValueError(
                f"{layer.name} has {len(layer.blocks)} groups and {first.name} has {len(first.blocks)}: one stack has layers of "
                "the same number of groups."
            )
        if layer.split is not first.split:
            raise ValueError(f"{layer.name} and {first.name} are layers of different kinds: {_kinds(run)}.")
        if layer.split_dim not in (-1, 1):
            raise ValueError(
                f"{layer.name} cuts dimension {layer.split_dim} into groups; a stack cuts the last one of a state (N, D): -1 or 1."
            )
        if has_hooks(module):
            raise ValueError(f"{layer.name} has hooks, which a stack would not run; remove them first.")
    stack = ReversibleStack([layer.blocks for layer in run.read], segments=segments, state=state)
    chain = Chain(stack, [layer.name for layer in run.read], first.split)
    return [FlatLayer(chain, n, module) for n, module in enumerate(run.layers)]


def _kinds(run: Run) -> str:
    return ", ".join(dict.fromkeys(type(module).__name__ for module in run.layers))


# --- the layers that replace them -------------------------------------------------------------------------------------------------


@dataclass
class Chain:
    """The stack of layers that a model calls one by one, and how far it has called them."""

    stack: ReversibleStack
    names: list[str]
    """The layers' names in the model."""
    split: Callable[[Tensor, Any, Sequence[Any], int, int], list[Any]]
    called: int = 0
    """How many layers of the current pass have been called; 0 after the last."""
    args: tuple[Any, ...] = ()
    """The further arguments of the current pass."""
    out: weakref.ref[Tensor] | None = None
    """The output of the stack in the current pass."""

    def call(self, n: int, x: Tensor, args: tuple[Any, ...]) -> Tensor:
        """Run the stack if this is the first layer; else check that the call is what a stack assumes, and return `x`.

        Raises:
            RuntimeError: if it is not.
        """
        called, self.called = self.called, 0
        if n == 0:
            if called:
                raise RuntimeError(
                    f"the model called {called} of the {len(self.names)} layers that revgnn.interop.convert made one stack, but "
                    f"the stack ran all of them: the outputs of that pass are wrong. {self._advice()}"
                )
            edge_index, *others = args or (None,)
            split = self.split(x, edge_index, others, self.stack.groups, -1)
            out = self.stack(x, *([edge_index] if args else []), *split)
            self.called, self.args, self.out = 1, args, weakref.ref(out)
            return out
        if n != called:
            raise RuntimeError(
                f"{self.names[n]} was called, but after {called} layers the next one is {self.names[called]}. {self._advice()}"
            )
        if self.out is None or x is not self.out():
            raise RuntimeError(f"the input of {self.names[n]} is not the output of {self.names[n - 1]}. {self._advice()}")
        if len(args) != len(self.args) or not all(map(_is_same, args, self.args)):
            raise RuntimeError(f"{self.names[n]} was called with other arguments than {self.names[n - 1]}. {self._advice()}")
        if n + 1 < len(self.names):
            self.called = n + 1
        else:
            self.args = ()
        return x

    def _advice(self) -> str:
        return (
            "Such a model cannot be converted: use its layers one by one, or build a revgnn.ReversibleStack, which takes arguments "
            "for each layer as revgnn.PerLayer."
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle holds: nothing of the current pass."""
        return {"stack": self.stack, "names": self.names, "split": self.split}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and type(a) is type(b) and bool(a == b))


class FlatLayer(nn.Module):
    """A layer in a list whose layers run as one stack, by `convert`. The first runs the stack, the others return their input.

    Args:
        chain: the stack that all layers of the list share.
        place: the place of this layer in it.
        layer: the layer that is replaced. Its children are this layer's, under the same names.
    """

    def __init__(self, chain: Chain, place: int, layer: nn.Module) -> None:
        super().__init__()
        for name, child in layer.named_children():
            self.add_module(name, child)
        self.chain = chain
        self.place = place
        self.training = layer.training

    def reset_parameters(self) -> None:
        """Draw the parameters of every convolution of the layer anew."""
        for block in self.chain.stack.sequence[self.place].blocks:
            block.reset_parameters()  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """Return the state after all layers; see `convert`."""
        return self.chain.call(self.place, x, args)

    def extra_repr(self) -> str:
        return f"{self.place + 1} of {len(self.chain.names)}"


# --- the outputs before and after -------------------------------------------------------------------------------------------------


def _outputs(model: nn.Module, inputs: tuple[Any, ...], layers: Sequence[nn.Module]) -> list[Any]:
    """Return the outputs for these inputs, in evaluation mode, without gradients, and with plain states.

    Args:
        layers: reversible layers and stacks in the model. Layers that empty their inputs do not do so meanwhile.
    """
    settings = {"disable": True, "state": "plain"}
    kept = [(layer, name, vars(layer)[name]) for layer in layers for name in settings if name in vars(layer)]
    kept += [(module, "training", module.training) for module in model.modules()]
    for layer, name, _ in kept:
        setattr(layer, name, settings.get(name, False))
    copies = pytree.tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, inputs)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            return pytree.tree_leaves(model(*copies))
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def _check_outputs(before: list[Any], after: list[Any]) -> None:
    pairs = list(zip(before, after, strict=False))
    differ = [n for n, (a, b) in enumerate(pairs) if isinstance(a, Tensor) and not torch.equal(a, b)]
    if len(before) != len(after) or differ:
        gap = max((float((a - b).abs().amax()) for a, b in pairs if isinstance(a, Tensor) and a.shape == b.shape), default=0.0)
        raise ValueError(
            f"one stack gives other outputs than the layers one by one (up to {gap:.3g} apart): the model reads or changes states "
            "between its layers. Use its layers one by one, or build a revgnn.ReversibleStack."
        )
