"""The weights of a network cut over processes, with their gradients and the optimiser's state: FSDP2 around pieces of its stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from revgnn.distributed.buckets import BucketedExchange
from revgnn.distributed.ranks import Ranks
from revgnn.distributed.shard_model import AgreedHostAccess
from revgnn.distributed.weights.fsdp import cut_by_fsdp
from revgnn.distributed.weights.pieces import Piece, PieceByPiece, cut_stack
from revgnn.stack import Stack
from revgnn.stack.host_access import ImmediateHostAccess
from revgnn.stack.snapshot import modules_in
from revgnn.train.run.team import GradientExchange


class ShardedWeights(GradientExchange):
    """A network of which each process holds a share of the stack's weights. See `shard_weights`.

    The first dimension of each matrix in the stack is cut into shares of equal length, as FSDP2 does. Vectors (biases, weights of
    norms: a few percent), what is outside of the stack, and what the stack shares with it are whole in all processes.

    Attributes:
        parameters: what this process holds of each parameter, in the order of `model.parameters()`: a module, for an optimiser.
            They are plain tensors in the memory of FSDP2, and have a gradient after `finish`.
        pieces: the pieces of the stack.
        shapes: of the whole parameters.
        everywhere: the parameters and buffers that all processes hold whole, as a module.
        agrees_on_overflow: if a gradient is not finite in one process, `finish` makes one so in all. A `GradScaler` needs that.
    """

    agrees_on_overflow: bool = False

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
        kept = set(outside_of(model, self._stack)) | {p for p in model.parameters() if not is_worth_cutting(p, ranks.size)}
        cut = cut_stack(self._stack, segments)
        self.pieces: list[Piece] = list(cut.pieces)  # pyright: ignore[reportAttributeAccessIssue]
        device = next(iter(whole.values())).device
        mesh = DeviceMesh.from_group(dist.group.WORLD, device.type)  # pyright: ignore[reportArgumentType]
        for piece in self.pieces:
            piece.cut = _owners(piece, kept)
            cut_by_fsdp(piece, mesh, kept, ranks, prefetches=device.type != "cpu")
        cut_by_fsdp(cut, mesh, kept, ranks, prefetches=True)
        self._root = cut
        self._stack.gradient = PieceByPiece(cut, self._stack.gradient, lambda: self._running(True))
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
        self.everywhere = _module_of(
            {n: p for n, p, is_cut in zip(names, held, self._is_cut, strict=True) if not is_cut}, dict(model.named_buffers())
        )
        self._whole = nn.ParameterList([p for p, is_cut in zip(held, self._is_cut, strict=True) if not is_cut])
        self._exchange = BucketedExchange(self._whole, self.ranks)
        self._begin_step()

    # --- gradients -------------------------------------------------------------------------------------------------------

    def _begin_step(self) -> None:
        for piece in self.pieces:
            piece.lacking = set(range(len(piece.cut)))

    # Nothing more is sent during a backward pass: processes would not send it in one order with what FSDP2 sends.

    def finish(self, values: Tensor) -> Tensor:
        """Let each of `parameters` have the sum over the processes as its gradient, or none if no process has used it.

        Gradients of the stack were summed in the backward passes, in which all processes must take part equally often.
        """
        flags = torch.tensor([float(n not in piece.lacking) for _, _, piece, n in self._sharded], device=values.device)
        more = torch.stack([len(flags) - flags.sum(), self._overflows().to(flags)]).to(values)
        total = self._exchange.finish(torch.cat([values, more]))
        lacking, overflows = total[-2:].tolist()
        users = self.ranks.sum(flags).tolist() if lacking else [1.0] * len(flags)
        for (parameter, own, _, _), used in zip(self._sharded, users, strict=True):
            grad = parameter.grad
            own.grad = None if grad is None or not used else grad.to_local()  # pyright: ignore[reportAttributeAccessIssue]
            parameter.grad = None
        if overflows:
            for parameter in self._whole:
                parameter.grad = torch.full_like(parameter, torch.inf)  # seen by the scaler of every process
        self._begin_step()
        return total[:-2]

    def _overflows(self) -> Tensor:
        """Return whether a gradient that this process has a share of is not finite, if that is to be agreed on."""
        if not self.agrees_on_overflow:
            return torch.zeros(())
        grads = [parameter.grad for parameter, _, _, _ in self._sharded if parameter.grad is not None]
        norms = [torch.linalg.vector_norm(g.to_local(), torch.inf) for g in grads if g.to_local().numel()]  # pyright: ignore[reportAttributeAccessIssue]
        return ~torch.stack(norms).isfinite().all() if norms else torch.zeros(())

    def clip(self, _: nn.Module, clip_norm: float | None) -> Tensor:
        """Scale the whole gradient down to the norm `clip_norm`, and return its norm before; see `LossScaler.clip`."""
        norm = self.norm()
        if clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.parameters.parameters(), clip_norm, norm)
        return norm

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

    def gather(self, held: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        """Return whole tensors on the CPU in the leading process, of what each process holds of them; nothing in the others.

        Args:
            held: for each, the number of the parameter in `parameters` that it is or belongs to, and the share of this process.
        """
        ranks = self.ranks
        packet = torch.cat([_as_bytes(_padded(t, self._rows(n))) for n, t in held])
        found = [torch.empty_like(packet) for _ in range(ranks.size)] if ranks.leads else None
        with ranks.exchanging():
            dist.gather(packet, found)
        if found is None:
            return []
        whole, start = [], 0
        for n, t in held:
            shape = (self._rows(n), *self.shapes[n][1:])
            stop = start + torch.Size(shape).numel() * t.element_size()
            whole.append(torch.cat([part[start:stop].view(t.dtype).view(shape) for part in found])[: self.shapes[n][0]])
            start = stop
        return whole

    @torch.no_grad()
    def scatter(self, whole: Sequence[Tensor], held: Sequence[tuple[int, Tensor]]) -> None:
        """Write into what each process holds its share of whole tensors, which only the leading process needs to give.

        Args:
            held: see `gather`.
        """
        ranks = self.ranks
        given = None
        if ranks.leads:
            pieces = [_padded(t, self._rows(n) * ranks.size).chunk(ranks.size) for (n, _), t in zip(held, whole, strict=True)]
            given = [torch.cat([_as_bytes(part[rank]) for part in pieces]) for rank in range(ranks.size)]
        sizes = [self._rows(n) * self.shapes[n][1:].numel() * t.element_size() for n, t in held]
        packet = torch.empty(sum(sizes), dtype=torch.uint8)
        with ranks.exchanging():
            dist.scatter(packet, given)
        for (n, t), part in zip(held, packet.split(sizes), strict=True):
            t.copy_(part.clone().view(t.dtype).view(self._rows(n), *self.shapes[n][1:])[: len(t)])

    def _rows(self, number: int) -> int:
        """Return the rows of the largest share of a parameter."""
        return -(-self.shapes[number][0] // self.ranks.size)

    # --- evaluation --------------------------------------------------------------------------------------------------------

    def accompany(self) -> None:
        """Take part in the runs of the stack without gradients in other processes until none has more.

        All processes call this when they have no more of their own.
        """
        device = next(self.parameters.parameters()).device
        with torch.no_grad():
            while self._running(False):
                self._root(torch.zeros(0, device=device), None)

    def _running(self, runs: bool) -> int:
        return int(self.ranks.sum(torch.tensor(int(runs))))


def shard_weights(model: nn.Module, ranks: Ranks, *, segments: int | None = None) -> ShardedWeights:
    """Cut the weights of a network over processes, with their gradients and the optimiser's state.

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


def is_worth_cutting(parameter: nn.Parameter, ranks: int) -> bool:
    """Return whether a parameter of a stack is cut: a matrix with a row for each process."""
    return parameter.requires_grad and parameter.dim() > 1 and parameter.shape[0] >= ranks


def outside_of(model: nn.Module, stack: Stack) -> list[nn.Parameter]:
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


def _module_of(parameters: dict[str, nn.Parameter], buffers: dict[str, Tensor]) -> nn.Module:
    """Return a module of these parameters and buffers. Names of parameters have no dots."""
    module = nn.Module()
    for name, parameter in parameters.items():
        module.register_parameter(name.replace(".", "/"), parameter)
    for name, buffer in buffers.items():
        module.register_buffer(name.replace(".", "/"), buffer)
    return module


def _padded(tensor: Tensor, rows: int) -> Tensor:
    """Return a tensor on the CPU with so many rows, of which the last may be anything."""
    tensor = tensor.detach().cpu()
    return tensor if len(tensor) == rows else torch.cat([tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])])


def _as_bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


class _AgreedRange(AgreedHostAccess):
    """If the state of one process has left its grid, all move to a coarser one and run their stacks again: weights are gathered."""

    check_repeated = ImmediateHostAccess.check_repeated
