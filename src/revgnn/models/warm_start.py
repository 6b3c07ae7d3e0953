"""The last solution at every node, from which the next solve starts."""

from __future__ import annotations

import torch
from torch import Tensor


class WarmStart:
    """A table of node states by node number. It needs the memory of one state of the whole graph, and grows with the numbers.

    It is not part of a model's weights, since a solution is found without it too. A run that must continue bit for bit saves it
    by `tensors`.
    """

    def __init__(self) -> None:
        self._states: Tensor | None = None
        self._known: Tensor | None = None

    def recall(self, nodes: Tensor | None, z0: Tensor) -> Tensor:
        """Return `z0` (M, D) with the last solution in the rows of the nodes that have one.

        Args:
            nodes: int64 (M,), numbers of the rows' nodes; None: 0 to M - 1.
        """
        if self._states is None or self._known is None:
            return z0
        nodes = self._numbers(nodes, z0)
        seen = nodes < len(self._known)
        rows = seen.nonzero().squeeze(1)
        rows = rows[self._known[nodes[rows]]]
        return z0.index_copy(0, rows, self._states[nodes[rows]].to(z0.dtype))

    @torch.no_grad()
    def remember(self, nodes: Tensor | None, z: Tensor) -> None:
        """Store the solution `z` (M, D) of the nodes, except rows that are not finite."""
        z = z.detach()
        nodes = self._numbers(nodes, z)
        size = int(nodes.max()) + 1 if len(nodes) else 0
        if self._states is None or self._known is None:
            self._states, self._known = z.new_zeros(0, z.shape[1]), torch.zeros(0, dtype=torch.bool, device=z.device)
        if size > len(self._known):
            missing = size - len(self._known)
            self._states = torch.cat([self._states, z.new_zeros(missing, z.shape[1])])
            self._known = torch.cat([self._known, self._known.new_zeros(missing)])
        finite = z.isfinite().all(dim=1)
        self._states[nodes[finite]] = z[finite]
        self._known[nodes[finite]] = True

    def tensors(self) -> dict[str, Tensor]:
        """Return the table for `restore`; empty before the first solution."""
        if self._states is None or self._known is None:
            return {}
        return {"states": self._states, "known": self._known}

    def restore(self, tensors: dict[str, Tensor], device: torch.device | None = None) -> None:
        """Take over the solutions of another table, as its `tensors` returned them."""
        self._states = tensors["states"].to(device) if tensors else None
        self._known = tensors["known"].to(device) if tensors else None

    @staticmethod
    def _numbers(nodes: Tensor | None, z: Tensor) -> Tensor:
        if nodes is None:
            return torch.arange(len(z), device=z.device)
        if nodes.shape != z.shape[:1] or nodes.dtype != torch.int64:
            raise ValueError(
                f"nodes must be int64 of shape ({len(z)},), the number of each row's node, got {nodes.dtype} {tuple(nodes.shape)}."
            )
        return nodes.to(z.device)
