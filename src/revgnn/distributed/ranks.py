"""The processes of a job as a team that trains one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from revgnn.distributed.buckets import BucketedExchange
from revgnn.distributed.faults import RankFailed, RanksDiffer, Watch
from revgnn.train.run.team import GradientExchange, Team

T = TypeVar("T")

_PACKET_BYTES = 64 << 20
"""Bytes of tensors that are sent at once."""


class Ranks(Team):
    """The processes of the default process group.

    What is sent besides tensors is JSON; nothing is pickled.

    Args:
        watch: finds out which process is to blame if an exchange fails.
    """

    def __init__(self, rank: int, size: int, watch: Watch) -> None:
        self.rank, self.size, self._watch = rank, size, watch

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """Begin an exchange inside. If it fails, the error names the process to blame."""
        self._watch.begin()
        with self.waiting():
            yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait inside for an exchange that has begun."""
        try:
            yield
        except RuntimeError as error:
            raise self._watch.blame(error) from error

    # --- what one process does for all ---------------------------------------------------------------------------------

    def ask_leader(self, work: Callable[[], T]) -> T:
        if not self.leads:
            return self._answer()
        try:
            value = work()
        except Exception as error:
            self._tell({"error": " ".join(str(error).split())})
            raise
        self._tell({"value": value})
        return value

    def leader_first(self, work: Callable[[], T]) -> T:
        if not self.leads:
            self._answer()
            return work()
        found: list[T] = []
        self.ask_leader(lambda: found.append(work()))
        return found[0]

    @contextmanager
    def held_by_leader(self, context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
        with ExitStack() as held:
            self.ask_leader(lambda: held.enter_context(context()) and None)
            yield

    def _answer(self) -> Any:
        answer = self._broadcast_json(None)
        if "error" in answer:
            raise RankFailed(f"process 0 has failed: {answer['error']}", is_told=True)
        return answer["value"]

    def _tell(self, answer: dict[str, Any]) -> None:
        self._broadcast_json(answer)

    # --- exchanges -----------------------------------------------------------------------------------------------------

    def share_state(self, tensors: dict[str, Tensor], note: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        listed = [[name, str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in tensors.items()]
        head = self._broadcast_json({"tensors": listed, "note": note} if self.leads else None)
        if not self.leads:
            tensors = {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, dtype, shape in head["tensors"]}
        packet: list[Tensor] = []
        for n, tensor in enumerate(tensors.values(), start=1):
            packet.append(tensor)
            if n == len(tensors) or sum(t.numel() * t.element_size() for t in packet) >= _PACKET_BYTES:
                self._broadcast_packet(packet)
                packet = []
        return tensors, head["note"]

    def gather(self, value: Any) -> list[Any]:
        mine = _as_bytes(value)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with self.exchanging():
            dist.all_gather(sizes, torch.tensor([len(mine)]))
            longest = max(int(size) for size in sizes)
            found = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(found, torch.nn.functional.pad(mine, (0, longest - len(mine))))
        return [json.loads(bytes(text[: int(size)].tolist())) for text, size in zip(found, sizes, strict=True)]

    def sum(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone()
        with self.exchanging():
            dist.all_reduce(total)
        return total

    def exchange(self, model: nn.Module) -> GradientExchange:
        return BucketedExchange(model, self)

    def check_same(self, model: nn.Module) -> None:
        sums = [int(_bits(t).sum()) for t in (*model.parameters(), *model.buffers())]
        for rank, other in enumerate(self.gather(sums)):
            if other != sums:
                name = next(name for n, (name, _) in enumerate(_named(model)) if other[n] != sums[n])
                raise RanksDiffer(
                    f"processes {rank} and {self.rank} hold other values of {name} after the same steps: an operator is not "
                    "deterministic, or the machines compute differently; resume from the last saved state on equal machines."
                )

    def _broadcast_json(self, value: Any) -> Any:
        text = _as_bytes(value) if self.leads else torch.zeros(0, dtype=torch.uint8)
        size = torch.tensor([len(text)])
        with self.exchanging():
            dist.broadcast(size, 0)
            if not self.leads:
                text = torch.zeros(int(size), dtype=torch.uint8)
            dist.broadcast(text, 0)
        return value if self.leads else json.loads(bytes(text.tolist()))

    def _broadcast_packet(self, tensors: list[Tensor]) -> None:
        """Send the bytes of some tensors on the CPU from the leading process; the others write them into theirs."""
        packet = torch.cat([t.detach().cpu().reshape(-1).view(torch.uint8) for t in tensors])
        with self.exchanging():
            dist.broadcast(packet, 0)
        if not self.leads:
            start = 0
            for tensor in tensors:
                stop = start + tensor.numel() * tensor.element_size()
                tensor.reshape(-1).view(torch.uint8).copy_(packet[start:stop])
                start = stop


def _as_bytes(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _bits(tensor: Tensor) -> Tensor:
    """Return the bits of a tensor as whole numbers, with one zero: -0 becomes 0."""
    flat = tensor.detach().reshape(-1)
    if not flat.is_floating_point():
        return flat.long()
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return (flat + 0.0).view(kinds[flat.element_size()])


def _named(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]
