"""The files of a run whose weights are cut over processes: those that one process would write, written and read in packets.

Not by `torch.distributed.checkpoint`: its metadata are a pickle, which may run any code when it is read; and a folder of files of
each process is not replaced in one step, nor read by the other commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.distributed.weights.shard import ShardedWeights
from revgnn.train.run.checkpoint import MOMENTS, State, describe_progress, other_tensors
from revgnn.train.run.session import Session
from revgnn.train.run.tensor_stream import OpenTensors, write_one_by_one

PACKET_BYTES = 16 << 20
"""Bytes of whole tensors that the leading process holds at once, about."""


@dataclass
class Held:
    """What this process holds of the tensors of a file, by name.

    Attributes:
        cut: number of the parameter, and the share of this process.
        whole: tensors that all processes hold.
        same: further names of parameters, and their first names.
    """

    cut: dict[str, tuple[int, Tensor]] = field(default_factory=dict)
    whole: dict[str, Tensor] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)

    def described(self, weights: ShardedWeights) -> dict[str, Tensor]:
        """Return a tensor of the meta device by name, of the shape that one process would write."""
        found = {name: torch.empty(t.shape, dtype=t.dtype, device="meta") for name, t in self.whole.items()}
        cut = {name: torch.empty(weights.shapes[n], dtype=t.dtype, device="meta") for name, (n, t) in self.cut.items()}
        return found | cut

    def packets(self, weights: ShardedWeights) -> Iterator[list[str]]:
        """Yield the names that are cut, in order, so many at once as fit into a packet."""
        names, size = [], 0
        for name in sorted(self.cut):
            number, held = self.cut[name]
            names.append(name)
            size += weights.shapes[number].numel() * held.element_size()
            if size >= PACKET_BYTES:
                yield names
                names, size = [], 0
        if names:
            yield names


def held_weights(session: Session, weights: ShardedWeights) -> Held:
    """Return what this process holds of the weights and buffers of a run."""
    numbers = {id(p): n for n, p in enumerate(session.model.parameters())}
    held, first = Held(), {}
    for name, tensor in session.model.state_dict(prefix="model.", keep_vars=True).items():
        number = numbers.get(id(tensor))
        if number is not None and first.setdefault(number, name) != name:
            held.same[name] = first[number]
        elif number is not None and weights.is_cut(number):
            held.cut[name] = number, weights.parameters[number]
        else:
            held.whole[name] = tensor.detach()
    return held


def held_state(session: Session, weights: ShardedWeights) -> Held:
    """Return what this process holds of the state of a run."""
    held = held_weights(session, weights)
    for number, parameter in enumerate(weights.parameters):
        for name, moment in session.optimizer.state.get(parameter, {}).items():
            if weights.is_cut(number) and moment.dim():
                held.cut[f"optimizer.{number}.{name}"] = number, moment
            else:
                held.whole[f"optimizer.{number}.{name}"] = moment
    held.whole |= other_tensors(session)
    return held


def write(path: Path, held: Held, weights: ShardedWeights, note: Mapping[str, Any]) -> None:
    """Write the file in the leading process. All processes call this."""
    values = _in_order(held, weights)
    if weights.ranks.leads:
        write_one_by_one(path, held.described(weights), values, note, held.same)
    else:
        for _ in values:
            pass


def _in_order(held: Held, weights: ShardedWeights) -> Iterator[Tensor]:
    """Yield the whole tensors in the order of their names, in the leading process."""
    waiting = sorted(held.whole, reverse=True)
    for names in held.packets(weights):
        found = weights.gather([held.cut[name] for name in names])
        for name, tensor in zip(names, found, strict=False):
            while waiting and waiting[-1] < name:
                yield held.whole[waiting.pop()].cpu()
            yield tensor
    while waiting and weights.ranks.leads:
        yield held.whole[waiting.pop()].cpu()


def save_last(path: Path, session: Session, weights: ShardedWeights, state: State) -> None:
    """Write the state to resume from, in the leading process. All processes call this."""
    write(path, held_state(session, weights), weights, describe_progress(session, state))


def read_whole(opened: OpenTensors, session: Session, weights: ShardedWeights) -> dict[str, Tensor]:
    """Return the tensors of a file that all processes hold whole: weights outside of the stack, statistics, numbers of steps."""
    held, found = held_weights(session, weights), {}
    for name, described in opened.described.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            is_whole = name in held.whole
        else:
            is_whole = kind == "optimizer" and not (described.dim() and weights.is_cut(int(rest.partition(".")[0])))
        if is_whole:
            found[name] = opened.read(name)
    return found


@torch.no_grad()
def read_into(session: Session, weights: ShardedWeights, opened: OpenTensors | None, whole: Mapping[str, Tensor]) -> None:
    """Give each process its share of a saved state.

    Args:
        opened: the file, in the leading process.
        whole: what `read_whole` has returned there, in all processes.
    """
    held = held_weights(session, weights)
    prefix = "model."
    session.model.load_state_dict({k.removeprefix(prefix): t for k, t in whole.items() if k.startswith(prefix)}, strict=False)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in whole.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, moment = rest.partition(".")
            moments.setdefault(int(number), {})[moment] = tensor
    for number, found in moments.items():
        if weights.is_cut(number):
            for moment in MOMENTS[type(session.optimizer)]:
                found[moment] = torch.empty_like(weights.parameters[number])
                held.cut[f"optimizer.{number}.{moment}"] = number, found[moment]
    for names in held.packets(weights):
        weights.scatter([] if opened is None else [opened.read(name) for name in names], [held.cut[name] for name in names])
    settings = session.optimizer.state_dict()["param_groups"]
    session.optimizer.load_state_dict({"state": moments, "param_groups": settings})
