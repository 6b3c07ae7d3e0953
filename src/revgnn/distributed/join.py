"""How a process becomes one of the processes of a job that torchrun has started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, rendezvous  # pyright: ignore[reportPrivateImportUsage]

from revgnn.distributed.faults import Watch
from revgnn.distributed.ranks import Ranks

TIMEOUT_SECONDS = 600.0
"""How long processes wait for one another by default."""


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this is one of several processes that torchrun, or a launcher with its variables, has started."""
    return environment.get("WORLD_SIZE", "1") not in ("", "1") and "RANK" in environment


@contextmanager
def join(timeout_seconds: float = TIMEOUT_SECONDS, place: tuple[Store, int, int] | None = None) -> Iterator[Ranks]:
    """Join the processes of the job, and yield them as a team. Tensors on the CPU go through gloo, those on GPUs through NCCL.

    On a machine with CUDA devices, the process uses the one of its local rank.

    Args:
        timeout_seconds: how long an exchange may take before the job ends: longer than one process works while others wait,
            as for the evaluation of a whole graph.
        place: the store of the job, the rank of this process and the number of processes, for launchers other than torchrun.

    Raises:
        ValueError: if the process was not started by torchrun, and no place is given.
        RankFailed: if another process fails, dies or hangs.
    """
    if place is None and ("RANK" not in os.environ or "WORLD_SIZE" not in os.environ):
        raise ValueError("this process is not one of a job; start it by torchrun, several processes at once")
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    timeout = timedelta(seconds=timeout_seconds)
    store, rank, size = next(rendezvous("env://", timeout=timeout)) if place is None else place
    store.set_timeout(timeout)
    # torchrun's agent keeps one store, with what processes left there before they were started again
    store = PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    watch = Watch(PrefixStore("watch", store), rank, size, timeout_seconds)
    dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=size, timeout=timeout)
    try:
        yield Ranks(rank, size, watch)
    except BaseException as error:
        # Without a farewell: the others notice that the connection is closed, and look at what is noted.
        watch.note_failure(error)
        raise
    dist.destroy_process_group()
