"""The search for the fastest set-up of PyTorch Geometric."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.nn import GENConv

from benchmarks import harness
from benchmarks.checks import check_close_gradients
from benchmarks.networks import Batch, Shape, pyg_logits, pyg_model, training_step
from benchmarks.peers.pyg import Variant, edge_index_of

STORED_TENSORS, WORKING_TENSORS = 2.1, 9
"""Tensors of E x C in float32 that a `GENConv` stores for its backward pass, and that exist while one is differentiated."""


class Peer:
    """One set-up of PyTorch Geometric, on a batch.

    Args:
        shape: of the network.
        variant: the set-up.
        batch: what it is trained on.

    Attributes:
        model: the network, in training mode. Variants with the same edges begin with the same weights.
        step: one training step.
    """

    def __init__(self, shape: Shape, variant: Variant, batch: Batch) -> None:
        self.variant = variant
        self.batch = batch._replace(edge_index=edge_index_of(variant, batch.edge_index, batch.graph.num_nodes))
        torch.manual_seed(0)
        self.model = pyg_model(shape, batch.graph, variant).train()
        if variant.compiled:
            self.model.compile_blocks()
        self.step = training_step(self.model, pyg_logits, self.batch)

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients of one step, with the same dropout for all variants. The step also warms up and compiles."""
        torch.manual_seed(1)
        self.step()
        return {name: p.grad.detach().clone() for name, p in self.model.named_parameters() if p.grad is not None}

    def stored_bytes(self) -> int:
        """Return roughly what a storing variant needs, so that one that does not fit is not started."""
        widths = [m.out_channels for m in self.model.modules() if isinstance(m, GENConv)]
        return round(4 * self.batch.graph.num_edges * (STORED_TENSORS * sum(widths) + WORKING_TENSORS * max(widths)))


class Trials(NamedTuple):
    """Results of the search, by the variant's name."""

    seconds: dict[str, float]
    peak_bytes: dict[str, int | None]
    """None for compiled variants: memory that compiled code allocates is not seen."""
    left_out: dict[str, str]
    """Reasons."""


def run_trials(shape: Shape, variants: Sequence[Variant], batch: Batch, trials: Trials, tick: harness.Tick) -> dict[Variant, Peer]:
    """Try every variant and fill in `trials`. Return the fastest peer with the shared edge encoder, and the fastest without it.

    A variant warms up with one step, is compared with the plain variant with the same edges, and is timed for one step.
    """
    best: dict[str, Peer] = {}
    plain: dict[str, dict[str, Tensor]] = {}
    for variant in variants:
        name = str(variant)
        gc.collect()
        peer = Peer(shape, variant, batch)
        free = harness.available_bytes()
        if variant.storing and free is not None and peer.stored_bytes() > 0.7 * free:
            trials.left_out[name] = f"needs about {peer.stored_bytes() / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free"
            continue
        if variant.edges not in plain:
            plain[variant.edges] = Peer(shape, Variant(variant.edges), batch).gradients()
        try:
            seconds, peak_bytes = _try(peer, plain[variant.edges])
        except Exception as error:  # a compiler may raise anything, and the other variants can still be measured
            trials.left_out[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            continue
        finally:
            tick(name)
        trials.seconds[name], trials.peak_bytes[name] = seconds, peak_bytes
        fastest = best.get(variant.edges)
        if fastest is None or seconds < trials.seconds[str(fastest.variant)]:
            best[variant.edges] = peer
    return {peer.variant: peer for peer in best.values()}


def _try(peer: Peer, expected: dict[str, Tensor]) -> tuple[float, int | None]:
    """Return the seconds of a step and its peak memory, after its gradients are found to be those of the plain variant."""
    name = str(peer.variant)
    found: dict[str, Tensor] = {}
    peak = None
    if peer.variant.compiled:
        found = peer.gradients()
    else:
        peak = harness.peak_memory({name: lambda: found.update(peer.gradients())})[name]
    check_close_gradients(found, expected, name)
    start = time.perf_counter()
    peer.step()
    return time.perf_counter() - start, peak
