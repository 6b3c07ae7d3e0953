"""The weights of a network cut over processes, with their gradients and the optimiser's state: FSDP2 around pieces of its stack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from revgnn.distributed.buckets import BucketedExchange
from revgnn.distributed.pieces import Piece, PieceByPiece, cut_stack
from revgnn.distributed.ranks import Ranks
from revgnn.distributed.shard_model import AgreedHostAccess
from revgnn.stack import Stack
from revgnn.stack.host_access import ImmediateHostAccess
from revgnn.stack.snapshot import modules_in
from revgnn.train.run.team import GradientExchange

# the names before torch 2.13
_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

PACKET_BYTES = 16 << 20
"""Bytes of whole tensors that are put together at once, about."""


class ShardedWeights(GradientExchange):
    """A network of which each process holds a share of the stack's weights. See `shard_weights`.

    The first dimension of each weight of the stack is cut into pieces of equal length, as FSDP2 does. Weights outside of the stack,
    those that it shares with a module outside, and scalars are whole in all processes.

    Attributes:
        parameters: what this process holds of each parameter, in the order of `model.parameters()`: a module, for an optimiser.
            They are plain tensors in the memory of FSDP2, and have a gradient after `finish`.
        pieces: the pieces of the stack.
    """

    def __init__(self, model: nn.Module, ranks: Ranks, segments: int | None = None) -> None:
        stacks = [m for m in model.modules() if isinstance(m, Stack)]
        if len(stacks) != 1:
            raise ValueError(
                f"weights are cut at the pieces of a stack of layers, and this network has {len(stacks) or 'none'}; let the "
                "processes share parts instead (parallel=parts)."
            )
        self.ranks = ranks
        self._stack = stacks[0]
        if isinstance(self._stack.gradient, PieceByPiece):
            raise ValueError("the weights of this network are cut already; build it anew.")
        names = [name for name, _ in model.named_parameters()]
        whole = {id(p): p for p in model.parameters()}
        kept = set(_outside(model, self._stack)) | {p for p in model.parameters() if p.dim() == 0 or not p.requires_grad}
        cut = cut_stack(self._stack, segments)
        self.pieces: list[Piece] = list(cut.pieces)  # pyright: ignore[reportAttributeAccessIssue]
        device = next(iter(whole.values())).device
        mesh = DeviceMesh.from_group(dist.group.WORLD, device.type)  # pyright: ignore[reportArgumentType]
        for piece in self.pieces:
            piece.cut = _owners(piece, kept)
            _shard(piece, mesh, kept, ranks, prefetches=device.type != "cpu")
        _shard(cut, mesh, kept, ranks, prefetches=True)
        self._root = cut
        self._stack.gradient = PieceByPiece(cut, self._stack.gradient)
        self._stack.host_access = _AgreedRange(ranks)
        self._fill(model, names)

    def _fill(self, model: nn.Module, names: list[str]) -> None:
        """Note what this process holds of each parameter."""
        now = dict(model.named_parameters())
        sharded = {id(owner._parameters[name]): (piece, n) for piece in self.pieces for n, (owner, name) in enumerate(piece.cut)}
        held: list[nn.Parameter] = []
        self._sharded: list[tuple[nn.Parameter, nn.Parameter, Piece, int]] = []
        self.shapes: list[torch.Size] = []
        self._is_cut: list[bool] = []
        for name in names:
            parameter = now[name]
            self.shapes.append(parameter.shape)
            self._is_cut.append(id(parameter) in sharded)
            if not self._is_cut[-1]:
                held.append(parameter)
                continue
            with torch.no_grad():
                own = nn.Parameter(parameter.to_local())  # pyright: ignore[reportAttributeAccessIssue]
            held.append(own)
            self._sharded.append((parameter, own, *sharded[id(parameter)]))
        self.parameters = nn.ParameterList(held)
        self._whole = nn.ParameterList([p for p, is_cut in zip(held, self._is_cut, strict=True) if not is_cut])
        self._exchange = BucketedExchange(self._whole, self.ranks)
        self._begin_step()

    # --- gradients -------------------------------------------------------------------------------------------------------

    def _begin_step(self) -> None:
        for piece in self.pieces:
            piece.lacking = set(range(len(piece.cut)))

    @contextmanager
    def during_backward(self) -> Iterator[None]:
        with self._exchange.during_backward():
            yield

    def finish(self, values: Tensor) -> Tensor:
        """Let each of `parameters` have the sum over the processes as its gradient, or none if no process has used it.

        Gradients of the stack were summed in the backward passes, in which all processes must take part equally often.
        """
        flags = torch.tensor([float(n not in piece.lacking) for _, _, piece, n in self._sharded], device=values.device)
        some = torch.cat([values, (len(flags) - flags.sum()).reshape(1).to(values)])
        total = self._exchange.finish(some)
        users = self.ranks.sum(flags).tolist() if float(total[-1]) else [1.0] * len(flags)
        for (parameter, own, _, _), used in zip(self._sharded, users, strict=True):
            grad = parameter.grad
            own.grad = None if grad is None or not used else grad.to_local()  # pyright: ignore[reportAttributeAccessIssue]
            parameter.grad = None
        self._begin_step()
        return total[:-1]

    @torch.no_grad()
    def norm(self) -> Tensor:
        """Return the norm of the whole gradient, float32 (), the same in all processes. Squares are summed in float64."""
        own = [p.grad for _, p, _, _ in self._sharded if p.grad is not None]
        total = self.ranks.sum(self._squares(own))
        return (total + self._squares(p.grad for p in self._whole if p.grad is not None)).sqrt().float()

    def _squares(self, grads: Iterable[Tensor]) -> Tensor:
        norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in grads]
        device = next(self.parameters.parameters()).device
        return torch.stack(norms).square().sum() if norms else torch.zeros((), dtype=torch.float64, device=device)

    # --- whole tensors -----------------------------------------------------------------------------------------------------

    def is_cut(self, number: int) -> bool:
        """Return whether a parameter is cut over the processes."""
        return self._is_cut[number]

    def gather(self, number: int, held: Tensor) -> Tensor | None:
        """Return a whole tensor on the CPU in the leading process, of what each holds of it; None in the others.

        Args:
            number: of the parameter in `parameters`, or of that which a tensor of the optimiser belongs to.
            held: its share of this process.
        """
        shape, ranks = self.shapes[number], self.ranks
        rows = -(-shape[0] // ranks.size)
        padded = torch.zeros(rows, *shape[1:], dtype=held.dtype)
        padded[: len(held)] = held.detach().cpu()
        found = [torch.empty_like(padded) for _ in range(ranks.size)] if ranks.leads else None
        with ranks.exchanging():
            dist.gather(padded, found)
        return None if found is None else torch.cat(found)[: shape[0]]

    @torch.no_grad()
    def scatter(self, number: int, whole: Tensor | None, held: Tensor) -> None:
        """Write its share of a whole tensor, which the leading process has, into what each process holds."""
        shape, ranks = self.shapes[number], self.ranks
        rows = -(-shape[0] // ranks.size)
        own = torch.empty(rows, *shape[1:], dtype=held.dtype)
        given = None
        if ranks.leads:
            assert whole is not None
            padded = torch.zeros(rows * ranks.size, *shape[1:], dtype=held.dtype)
            padded[: shape[0]] = whole
            given = list(padded.chunk(ranks.size))
        with ranks.exchanging():
            dist.scatter(own, given)
        held.copy_(own[: len(held)])


def shard_weights(model: nn.Module, ranks: Ranks, *, segments: int | None = None) -> ShardedWeights:
    """Cut the weights of a network over processes, which then hold a share of them, of their gradients, and of the optimiser's state.

    The weights must be the same in all processes. In each forward and backward pass those of one piece of the stack at a time are
    whole. All processes call the network equally often, each with its own part:

        >>> weights = shard_weights(model, team)
        >>> optimizer = torch.optim.Adam(weights.parameters.parameters())
        >>> losses(model(graph, x), y).backward()
        >>> weights.finish(torch.zeros(1))  # sums over the processes
        >>> optimizer.step()

    Args:
        model: a network with one stack of layers, without gradients.
        segments: pieces of the stack; default: those between which it stores its state anyway (see `spans_of`). Layers that share
            weights are one piece.

    Raises:
        ValueError: for a network without a stack, such as an equilibrium, and for segments that the stack cannot have.
    """
    return ShardedWeights(model, ranks, segments)


def _outside(model: nn.Module, stack: Stack) -> list[nn.Parameter]:
    """Return the parameters that a network uses outside of its stack. A stack may share some."""
    found: dict[nn.Module, None] = {model: None}
    waiting = [model]
    while waiting:
        children = [m for m in waiting.pop()._modules.values() if m is not None and m is not stack and m not in found]
        found.update(dict.fromkeys(children))
        waiting += children
    return [p for module in found for p in module._parameters.values() if p is not None]


def _owners(piece: Piece, kept: set[nn.Parameter]) -> list[tuple[nn.Module, str]]:
    """Return owner and name of each parameter of a piece that is to be cut."""
    found: dict[int, tuple[nn.Module, str]] = {}
    for module in modules_in([piece]):
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter not in kept:
                found.setdefault(id(parameter), (module, name))
    return list(found.values())


def _shard(module: nn.Module, mesh: DeviceMesh, kept: set[nn.Parameter], ranks: Ranks, *, prefetches: bool) -> None:
    """Let FSDP2 cut a module, sum its gradients without dividing, and name the process to blame if an exchange fails.

    Args:
        prefetches: the weights of the piece before are gathered while this one is differentiated: two are whole then.
    """
    fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=kept)
    assert isinstance(module, FSDPModule)
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)
    module.set_custom_all_gather(_AllGather(ranks))  # pyright: ignore[reportArgumentType]
    module.set_custom_reduce_scatter(_ReduceScatter(ranks))  # pyright: ignore[reportArgumentType]
    if not prefetches:
        module.set_modules_to_backward_prefetch([module])


class _Exchange:
    """An exchange of FSDP2 that names the process to blame if it fails."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)


class _AllGather(_Exchange):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        with self._ranks.exchanging():
            return _gather(output_tensor, input_tensor, group=group, async_op=async_op)


class _ReduceScatter(_Exchange):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        with self._ranks.exchanging():
            return _reduce(output_tensor, input_tensor, group=group, op=op, async_op=async_op)


class _AgreedRange(AgreedHostAccess):
    """If the state of one process has left its grid, all move to a coarser one and run their stacks again: weights are gathered."""

    check_repeated = ImmediateHostAccess.check_repeated
