"""How the parts of a step pass through the stages, by `torch.distributed.pipelining`: one forward, one backward (1F1B).

`PipelineStage` allocates a buffer for each part before the first one arrives, all of one shape. Here parts have different sizes. A
buffer is made when its part is about to arrive, of the size of that part, and is dropped when the part has passed. So for each part
that is on its way, a stage keeps what its layers keep: of reversible layers their output and the mask, whatever their depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B

from revgnn.distributed.pipeline.stage import Stage

RunPart = Callable[[Stage, int, tuple[Tensor, ...]], tuple[Tensor, ...]]
"""`run(stage, n, received)` is the forward pass of part `n` of the step in a stage. The last stage returns its loss, (1,)."""


class StageError(Exception):
    """The computation of a stage has failed, and not an exchange."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class PartStage(PipelineStage):
    """A stage whose parts have different sizes.

    Args:
        stage: what it computes.
        run: computes it for one part.
        rows: returns the number of nodes of part `n`.
        first: number of the first part.
    """

    def __init__(self, stage: Stage, run: RunPart, rows: Callable[[int], int], first: int) -> None:
        self._stage, self._rows, self._first_part = stage, rows, first
        state = torch.empty(0, stage.channels, dtype=stage.dtype, device=stage.device, requires_grad=True)
        carry = torch.empty(0, device=stage.device, requires_grad=True)
        super().__init__(
            _Module(stage, run, first),
            stage.index,
            len(stage.cut.layers),
            stage.device,
            input_args=(torch.empty(0, device=stage.device),) if stage.is_first else (state, carry),
            output_args=(torch.empty(1, device=stage.device, requires_grad=True),) if stage.is_last else (state, carry),
        )

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        if not self.is_first:
            self._make_buffers(self.args_recv_info[fwd_chunk_id], fwd_chunk_id, requires_grad=True)
        return super().get_fwd_recv_ops(fwd_chunk_id)

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        if not self.is_last:
            self._make_buffers(self.grad_recv_info[bwd_chunk_id], bwd_chunk_id, requires_grad=False)
        return super().get_bwd_recv_ops(bwd_chunk_id)

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().forward_one_chunk(fwd_chunk_id, *args, **kwargs)
        except RuntimeError as error:
            raise StageError(error.__cause__ or error) from error
        finally:
            if not self.is_first:
                received = self._drop_buffers(self.args_recv_info[fwd_chunk_id])
                if self._stage.frees_input:
                    received[0].untyped_storage().resize_(0)  # torch keeps the tensor, for its gradient

    def backward_one_chunk(self, bwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        sent = () if self.is_last else self.fwd_cache[bwd_chunk_id][0]
        try:
            return super().backward_one_chunk(bwd_chunk_id, *args, **kwargs)
        except RuntimeError as error:
            raise StageError(error.__cause__ or error) from error
        finally:
            if not self.is_last:
                self._drop_buffers(self.grad_recv_info[bwd_chunk_id])
            for tensor in sent:
                tensor.untyped_storage().resize_(0)  # the schedule keeps what it has sent in its first parts

    def _make_buffers(self, infos: Sequence[Any], chunk: int, *, requires_grad: bool) -> None:
        stage = self._stage
        shapes = ((self._rows(self._first_part + chunk), stage.channels), stage.dtype), ((stage.carried,), torch.float32)
        for info, (shape, dtype) in zip(infos, shapes, strict=True):
            info.buffer = torch.empty(shape, dtype=dtype, device=stage.device, requires_grad=requires_grad)

    @staticmethod
    def _drop_buffers(infos: Sequence[Any]) -> list[Tensor]:
        dropped = [info.buffer for info in infos]
        for info in infos:
            info.buffer = torch.empty(0)
        return dropped

    # torch 2.11 compares shapes with those of the examples
    def _validate_fwd_input(self, *_: Any) -> None:
        pass

    def _validate_fwd_outputs(self, *_: Any) -> None:
        pass


class _Module(nn.Module):
    """What `PipelineStage` calls, for one part after the other."""

    def __init__(self, stage: Stage, run: RunPart, first: int) -> None:
        super().__init__()
        self._stage, self._run, self._next = stage, run, first

    def forward(self, *received: Tensor) -> Any:
        number, self._next = self._next, self._next + 1
        out = self._run(self._stage, number, () if self._stage.is_first else received)
        return next(iter(out)) if len(out) == 1 else out


def run_step(stages: Sequence[Stage], count: int, run: RunPart, rows: Callable[[int], int]) -> None:
    """Take the parts of a step forward and backward through all stages. Gradients are added to those that are there.

    Args:
        stages: of this process.
        count: of parts.
        run, rows: see `PartStage`.

    Raises:
        StageError: if the computation of a stage of this process fails.
    """
    first = 0
    for size in waves(count, dist.get_world_size(), len(stages)):
        parts = [PartStage(stage, run, rows, first) for stage in stages]
        schedule = _schedule(parts, size)
        if any(stage.is_last for stage in stages):
            schedule.step(target=torch.zeros(size))
        else:
            schedule.step()
        first += size


def waves(count: int, ranks: int, stages_each: int) -> list[int]:
    """Return how many parts are taken at once: all, or as many as the interleaved schedule takes, one after the other."""
    found = []
    while count:
        size = count
        while stages_each > 1 and size % max(1, size // ranks):
            size -= 1
        found.append(size)
        count -= size
    return found


def _schedule(parts: list[PartStage], count: int) -> Any:
    if len(parts) > 1:
        return ScheduleInterleaved1F1B(parts, count, loss_fn=_loss, scale_grads=False)  # pyright: ignore[reportArgumentType]
    kind = Schedule1F1B if count >= parts[0].num_stages else ScheduleGPipe  # with fewer parts they are the same
    return kind(parts[0], count, loss_fn=_loss, scale_grads=False)


def _loss(output: Tensor, _: Tensor) -> Tensor:
    """Return the result of the last stage, which is its loss."""
    return output


def bubble(stages: int, parts: int) -> float:
    """Return the share of a step in which a process of a pipeline waits, if all stages take equally long (Huang et al. 2019)."""
    return (stages - 1) / (parts + stages - 1)
