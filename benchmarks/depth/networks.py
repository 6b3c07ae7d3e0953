"""The networks whose depth varies, and their turns between turns of a reference network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchmarks import harness
from benchmarks.networks import Batch, Shape, revgnn_logits, revgnn_model, training_step
from benchmarks.peers.pyg import Variant
from benchmarks.peers.trials import Peer
from revgnn.models import num_parameters

REVERSIBLE, STORED, PEER = "Reversible", "Backprop", "PyG GroupAddRev"
"""The curves."""
MAX_STEPS = 16
"""Most steps of one turn."""
PEER_WEIGHT = 100
"""Time of a layer of PyTorch Geometric over that of ours, roughly, for the estimate of the time left."""


def num_rounds(depth: int, repeats: int) -> int:
    """Return in how many rounds a network of this depth takes part: all up to 1,000 layers, fewer beyond, one from 10,000 on."""
    return max(1, min(repeats, round(repeats * 1000 / depth)))


def steps_per_turn(depth: int, reference: int) -> int:
    """Return as many steps as take about as long as one step of the reference."""
    return max(1, min(MAX_STEPS, reference // depth))


def reference_steps(depth: int, reference: int) -> int:
    """Return the steps of the reference before and after a turn of this depth: more beside a long turn, at most 5."""
    return max(1, min(5, depth // (4 * reference)))


@dataclass
class Network:
    """A network that takes turns.

    Attributes:
        shape: its shape.
        curve: `REVERSIBLE`, `STORED` or `PEER`.
        model: the network. Between turns it has no gradients.
        step: forward pass, loss, backward pass.
        point: what is measured, in the form of the result.
    """

    shape: Shape
    curve: str
    model: nn.Module
    step: Callable[[], None]
    point: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, shape: Shape, curve: str, batch: Batch) -> Network:
        torch.manual_seed(0)
        if curve == PEER:
            peer = Peer(shape, Variant("shared"), batch)
            return cls(shape, curve, peer.model, peer.step)
        gradient = "reversible" if curve == REVERSIBLE else "backprop"
        model = revgnn_model(shape, batch.graph, gradient=gradient).train()
        return cls(shape, curve, model, training_step(model, revgnn_logits, batch))

    @property
    def weight(self) -> float:
        """Time of a step, roughly, in layers of ours."""
        return self.shape.depth * (PEER_WEIGHT if self.curve == PEER else 1)

    def steps(self, reference: int) -> int:
        """Return the steps of one turn."""
        return 1 if self.curve == PEER else steps_per_turn(self.shape.depth, reference)

    def measure_memory(self) -> None:
        """Measure the peak memory of a step, which also is the warm-up, and begin the point."""
        start = time.perf_counter()
        peak = harness.peak_memory({self.curve: self.step})[self.curve]
        self.point |= {
            "curve": self.curve, "depth": self.shape.depth, "groups": self.shape.groups, "peak_bytes": peak,
            "parameter_bytes": 4 * num_parameters(self.model), "watched_seconds": time.perf_counter() - start,
            "seconds": [], "reference_seconds": [],
        }  # fmt: skip
        self.drop_gradients()

    def turn(self, steps: int) -> float:
        """Run some steps and return the seconds of one."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        seconds = (time.perf_counter() - start) / steps
        self.drop_gradients()
        return seconds

    def drop_gradients(self) -> None:
        """Free the gradients, up to 500 MB, before another network takes its turn."""
        self.model.zero_grad(set_to_none=True)

    def __str__(self) -> str:
        return f"{self.shape.depth:,} layers, {self.shape.groups} groups, {self.curve}"


def take_turns(networks: Sequence[Network], reference: Network, repeats: int, tick: harness.Tick, save: Callable[[], None]) -> None:
    """Time the networks in rounds. The order rotates from round to round; the reference runs before and after each turn.

    Args:
        networks: what is timed. Each turn adds to `seconds` and `reference_seconds` of the network's point.
        reference: the network that each turn is compared with.
        repeats: number of rounds. Deep networks take part in the first ones only.
        tick: advances by the layers of each turn.
        save: called after each turn.
    """
    depth = reference.shape.depth
    for n in range(repeats):
        taking = [network for network in networks if n < num_rounds(network.shape.depth, repeats)]
        taking = taking[n % len(taking) :] + taking[: n % len(taking)] if taking else []
        wanted = [1, *(reference_steps(network.shape.depth, depth) for network in taking), 1]
        before = reference.turn(max(wanted[:2])) if taking else 0.0
        for k, network in enumerate(taking):
            steps = network.steps(depth)
            if network.shape.depth > 4 * depth:
                expected = before / depth * network.weight
                tick(f"{network}: a step of about {expected:.0f} s", by=0)
            seconds = network.turn(steps)
            after = reference.turn(max(wanted[k + 1 : k + 3]))
            network.point["seconds"].append(seconds)
            network.point["reference_seconds"].append((before + after) / 2)
            before = after
            save()
            tick(f"round {n + 1} of {repeats}: {network}", by=steps * network.weight)


def total_work(networks: Sequence[Network], reference: int, repeats: int) -> float:
    """Return the sum of what `take_turns` ticks, in layers of ours."""
    return sum(num_rounds(n.shape.depth, repeats) * n.steps(reference) * n.weight for n in networks)
