"""A stack of layers under one gradient strategy, with a state that is kept exactly."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.backprop import Backprop
from revgnn.stack.execution import Conditions, Execution, blocks_to_protect_from
from revgnn.stack.host_access import HostDependent, StateRangeError
from revgnn.stack.inverse import invert_layers
from revgnn.stack.layers import AbstractLayer, AdditiveCoupling, Residual
from revgnn.stack.reversible import Reversible
from revgnn.stack.snapshot import all_draw_from_own, frozen_statistics, modules_in, uncached_parametrizations
from revgnn.stack.strategy import GradientStrategy
from revgnn.stack.tracing import recorded_value, refuse_tracing_with_gradients

GRID_BITS = {torch.float32: 14, torch.float64: 40}
"""q of the grid of multiples of 2^-q. In float32 magnitudes up to 1,024 are exact, and a rounding is at most 3e-5."""

COARSEST = 4
"""The smallest q that a stack chooses by itself."""

StateKind = Literal["grid", "float64", "plain"]


class Stack(HostDependent, nn.Module):
    """Layers one after the other: `stack(h, *args)` calls every block with `args` after its input.

    Args:
        layers: `AdditiveCoupling` or `Residual` layers, all with the same number of groups.
        gradient: `Reversible()`, `Checkpoint()` or `Backprop()`: the same value and the same gradients, at a different price.
        state: how the node state is kept between layers, for every strategy and for inference alike.
            "grid": float32 (float64 if the input is), on an exact grid: reversing returns it to the last bit.
            "float64": on a finer grid in float64, for states of large range; twice the memory for the state alone.
            "plain": ordinary sums in the input's dtype: reversing drifts.
        repeats: how often all layers are applied, with the same parameters (weight-tied).

    Attributes:
        coarsened: by how many bits the grid has become coarser. It is saved with the parameters.

    Raises:
        ValueError: if layers do not fit together, or the strategy cannot differentiate them.
    """

    def __init__(
        self,
        layers: Iterable[AbstractLayer],
        *,
        gradient: GradientStrategy | None = None,
        state: StateKind = "grid",
        repeats: int = 1,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.repeats = repeats
        if not len(self.layers):
            raise ValueError("a stack needs at least one layer.")
        groups = {layer.groups for layer in self.sequence}
        if len(groups) > 1:
            raise ValueError(f"all layers of a stack must have the same number of groups, got {sorted(groups)}.")
        if state not in ("grid", "float64", "plain"):
            raise ValueError(f"unknown state {state!r}; choose 'grid', 'float64' or 'plain'.")
        if repeats < 1:
            raise ValueError(f"repeats must be 1 or more, got {repeats}.")
        self.gradient = gradient or Backprop()
        self.state = state
        self.coarsened = 0
        self.gradient.check(self.sequence)

    @property
    def sequence(self) -> list[AbstractLayer]:
        """The layers in the order in which they are applied, repeats included."""
        return list(self.layers) * self.repeats  # pyright: ignore[reportReturnType]

    @property
    def groups(self) -> int:
        """The number of groups of the state, G."""
        return self.sequence[0].groups

    def forward(self, x: Tensor, *args: Any, layer_factors: Sequence[float] | None = None, **kwargs: Any) -> Tensor:
        """Map a state (N, D) to a state (N, D). `x` is not changed.

        A state that outgrows its grid moves to a coarser one, with a warning.

        Args:
            args, kwargs: what every block is called with after its input.
            layer_factors: what the values of the blocks of each layer, repeats counted, are multiplied by in this call. A layer of
                factor 0 is skipped: it is not evaluated in any pass, and its weights get no gradient from here. None: all are 1.

        Raises:
            ValueError: if shapes do not fit, or there is not one factor for each layer.
            StateRangeError: if the state is not finite, or no grid of at least 4 bits has room for it.
        """
        kwargs["layer_factors"] = layer_factors
        if is_recorded():
            return self._run(x, args, kwargs, None)
        if torch.compiler.is_compiling():
            # A compiler that sees both evaluations of a block merges them, and stores what is to be recomputed. For each choice of
            # layers it would compile the stack again.
            as_it_is = self.gradient.recomputes or layer_factors is not None
            return self._outside_compiler(x, *args, **kwargs) if as_it_is else self._run(x, args, kwargs, None)
        conditions = Conditions.now(x.device, self.host_access)
        try:
            return self._run(x, args, kwargs, conditions)
        except StateRangeError as error:
            if error.needed is None or error.needed < COARSEST:
                raise
            warnings.warn(f"{error} Going on with 2^-{error.needed}.", stacklevel=2)
            self.coarsened += error.bits - error.needed
        with frozen_statistics(self.modules()):  # the first run has updated them
            return self._run(x, args, kwargs, conditions)

    @torch.compiler.disable(reason="a stack that recomputes its activations runs as it is; compile its blocks instead")
    def _outside_compiler(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self(x, *args, **kwargs)

    def _run(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], conditions: Conditions | None) -> Tensor:
        dtype, bits = self._dtype_and_bits(x)
        return run_stack(self.sequence, x, *args, gradient=self.gradient, bits=bits, dtype=dtype, conditions=conditions, **kwargs)

    def _dtype_and_bits(self, x: Tensor) -> tuple[torch.dtype, int | None]:
        """Return the dtype of the state for this input, and q of its grid."""
        dtype = torch.float64 if self.state == "float64" else torch.promote_types(x.dtype, torch.float32)
        return dtype, None if self.state == "plain" else GRID_BITS[dtype] - self.coarsened

    def inverse(self, y: Tensor, *args: Any, layer_factors: Sequence[float] | None = None, **kwargs: Any) -> Tensor:
        """Return the state before the layers, for the state (N, D) after them and the arguments of the call that made it.

        With `state="grid"` it is the input of that call, rounded to the grid, to the last bit. With "plain", and with "float64"
        for a float32 input, it is as near as rounding allows. Blocks that draw random numbers draw those of the call if
        `torch.manual_seed` precedes both. Statistics of batch norm are not updated.

        Gradients, if they are enabled, are those of plain backpropagation, which stores every activation.

        Raises:
            ValueError: for a layer without an inverse, or shapes that do not fit.
            StateRangeError: if a state on the way is outside the range of its grid, where sums are not exact.
        """
        dtype, bits = self._dtype_and_bits(y)
        with frozen_statistics(modules_in([self])):
            conditions = Conditions.now(y.device, self.host_access)
            return invert_layers(self.sequence, y, args, kwargs, bits, dtype, conditions, layer_factors)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.coarsened])

    def set_extra_state(self, state: Tensor) -> None:
        self.coarsened = int(state[0])

    def extra_repr(self) -> str:
        return f"gradient={self.gradient}, state={self.state!r}, repeats={self.repeats}"


class ReversibleStack(Stack):
    """A stack of grouped additive couplings, reversible from end to end.

    Args:
        blocks: a list of layers, each a list of G >= 2 blocks: any modules from (N, D / G) to (N, D / G).
        segments: see `Reversible`.
        gradient: default `Reversible(segments)`.
        state, repeats: see `Stack`.

    Example:
        >>> stack = ReversibleStack([[PreActivation(GATConv(32, 32)) for _ in range(2)] for _ in range(200)])
        >>> h = stack(h, edge_index)  # h (N, 64)
    """

    def __init__(
        self,
        blocks: Iterable[Sequence[nn.Module]],
        *,
        segments: int = 1,
        gradient: GradientStrategy | None = None,
        state: StateKind = "grid",
        repeats: int = 1,
    ) -> None:
        layers = [AdditiveCoupling(layer) for layer in blocks]
        super().__init__(layers, gradient=gradient or Reversible(segments), state=state, repeats=repeats)


class ResidualStack(Stack):
    """A stack of residual layers, one block each; differentiate it with `Checkpoint()` or `Backprop()`."""

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        *,
        gradient: GradientStrategy | None = None,
        state: StateKind = "grid",
        repeats: int = 1,
    ) -> None:
        super().__init__([Residual(block) for block in blocks], gradient=gradient, state=state, repeats=repeats)


# --- a state through layers ---------------------------------------------------------------------------------------------------


def run_stack(
    layers: Sequence[AbstractLayer],
    x: Tensor,
    *args: Any,
    gradient: GradientStrategy,
    bits: int | None = None,
    dtype: torch.dtype | None = None,
    conditions: Conditions | None = None,
    layer_factors: Sequence[float] | None = None,
    **kwargs: Any,
) -> Tensor:
    """Return the state after the layers.

    Args:
        layers: in order. A layer that stands in several places is tied.
        x: the state (N, D) before them, floating point, D a multiple of the number of groups. It is not changed, and may be used
            afterwards.
        args, kwargs: what every block is called with after its input: a graph, an edge_index, any tensor. Tensors in them that
            require a gradient get one. An element of a `PerGroup` goes to the blocks of its group, one of a `PerLayer` to those of
            its layer.
        gradient: how to differentiate. The value is the same for all strategies.
        bits: keep the state on the grid of multiples of 2^-bits; None: plain sums.
        dtype: dtype of the state: float32 or float64. Default: that of `x`, at least float32.
        conditions: the conditions to run under. Default: those of now.
        layer_factors: see `Stack.forward`.

    Returns:
        (N, D), dtype of `x`, at least float32 unless the parameters of the layers have 16 bits and autocast is off.

    Raises:
        ValueError: if shapes do not fit, or a block does not keep its input's shape.
        RuntimeError: under `torch.jit.trace` with gradients enabled, as only the value can be recorded.
        StateRangeError: if the state leaves the range of its grid. It is checked once, at the end, if gradients are enabled;
            `conditions.host_access` decides when the result of the check is read.
    """
    given = gradient.given or x.dtype
    compute_dtype = torch.promote_types(given, torch.float32)
    dtype = torch.promote_types(compute_dtype, dtype or compute_dtype)
    groups = layers[0].groups
    if x.dim() != 2 or x.shape[1] % groups:
        raise ValueError(f"the state must have shape (N, D) with D a multiple of the {groups} groups, got {tuple(x.shape)}.")
    if conditions is None and not (torch.compiler.is_compiling() or is_recorded()):
        conditions = Conditions.now(x.device)
    arguments = BlockArguments(args, kwargs, groups, len(layers))
    block_dtype, out_dtype = _dtypes(layers, given, x.device)
    execution = Execution(list(layers), groups, arguments, conditions, bits, block_dtype, layer_factors)
    state = grid.round_to_grid(x.to(dtype), bits)
    if is_recorded():
        # Neither a second evaluation nor a check on the host can be recorded.
        refuse_tracing_with_gradients()
        return recorded_value(Backprop().run(execution, state).to(out_dtype))
    if conditions is None:
        return gradient.run(execution, state).to(out_dtype)

    execution.protect_from = blocks_to_protect_from(layers)
    execution.modules = modules_in(layers)
    conditions.randomness.own_only = all_draw_from_own(execution.modules)
    with conditions.around_pass():
        out = _recompute(execution, gradient, state) if gradient.recomputes else gradient.run(execution, state)
    if bits is not None and torch.is_grad_enabled() and x.numel():
        peak = torch.linalg.vector_norm(state.detach(), torch.inf)
        peak = peak if execution.peak is None else torch.maximum(peak, execution.peak)
        conditions.host_access.check_range(peak, bits, dtype)
    return out if gradient.leaves_state else out.to(out_dtype)


def _dtypes(layers: Sequence[AbstractLayer], given: torch.dtype, device: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """Return the dtype of what blocks are given, and that of the result.

    Both are the given one, at least float32, except for a network that was cast to 16 bits as a whole: its blocks are given their
    own dtype, and the result has the given one. The state itself is never kept in 16 bits.
    """
    wide = torch.promote_types(given, torch.float32)
    if torch.is_autocast_enabled(device.type):
        return wide, wide
    own = next((p.dtype for layer in layers for p in layer.parameters() if p.is_floating_point()), wide)
    return (own, given) if own in (torch.bfloat16, torch.float16) else (wide, wide)


def _recompute(execution: Execution, gradient: GradientStrategy, state: Tensor) -> Tensor:
    """Return the state after the layers, under a strategy that evaluates blocks again if gradients are enabled."""
    if not torch.is_grad_enabled():
        return gradient.value(execution, state)
    execution.arguments.note_versions()
    with uncached_parametrizations():
        return gradient.run(execution, state)


def is_recorded() -> bool:
    """Whether a tracer or an exporter records the operators that run now, to repeat them without the code that called them."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()  # pyright: ignore[reportPrivateImportUsage]
