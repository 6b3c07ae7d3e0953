"""The pipeline of a run: its network cut into stages, one optimiser step, and evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from revgnn.distributed.pipeline.cut import Cut, trunk_of
from revgnn.distributed.pipeline.parts import PartsOnTheirWay
from revgnn.distributed.pipeline.schedule import StageError, run_step
from revgnn.distributed.pipeline.stage import Stage, random_state, set_random_state
from revgnn.distributed.ranks import Ranks
from revgnn.graph import Graph
from revgnn.stack import StateRangeError
from revgnn.stack.host_access import check_range
from revgnn.stack.stack import COARSEST, GRID_BITS
from revgnn.train.batches import Batch
from revgnn.train.run.optimization import autocast, build_optimizer
from revgnn.train.run.session import Session, Share, losses
from revgnn.train.tricks.label_inputs import show_some_labels

Pieces = Iterator[tuple[int, Batch, Share]]


class Pipeline:
    """The stages of this process. Making it removes from the session's network and optimiser what other processes have.

    Args:
        session: whose network and optimiser are whole, the same in all processes.
        ranks: the processes.
        each: stages of a process: 1, or more for an interleaved schedule.
        layers: see `Cut`.

    Attributes:
        cut: of the whole network.
        stages: of this process: stage `s` is that of process `s` modulo the number of processes.

    Raises:
        ValueError: for a network that cannot be cut into so many stages.
    """

    def __init__(self, session: Session, ranks: Ranks, each: int = 1, layers: list[range] | None = None) -> None:
        self._session, self._ranks = session, ranks
        model, stack = session.model, trunk_of(session.model).stack
        assert stack is not None
        self.cut = Cut(model, ranks.size * each, layers)
        own = list(range(ranks.rank, ranks.size * each, ranks.size))
        self.cut.strip(model, set(own))
        _keep_own_moments(session)
        self._stack, whole = stack, stack.gradient
        self.stages = [Stage(model, self.cut, s, whole, session.device) for s in own]
        self._synced = [owned for owned in self.cut.parameters if len(owned.stages) > 1]

    def rank_of(self, stage: int) -> int:
        """Return the process of a stage."""
        return stage % self._ranks.size

    # --- a training step ------------------------------------------------------------------------------------------------

    def differentiate(
        self, count: int, pieces: Callable[[], Pieces], random_numbers: Callable[[int], AbstractContextManager[None]]
    ) -> Tensor:
        """Take the parts of a step forward and backward. Gradients are left in the parameters of this process.

        Args:
            count: of parts.
            pieces: returns them; called again if a part has to move to a coarser grid.
            random_numbers: returns the context of a part's random numbers.

        Returns:
            The loss, without and with the auxiliary loss, float32 (2,), in the process of the last stage; -0 in the others.

        Raises:
            StateRangeError: in all processes, if a state leaves its grid and there is no coarser one.
        """
        base, coarser = self._stack.coarsened, [0] * count
        for stage in self.stages:
            stage.statistics.begin_step()
        while True:
            run = _Run(self._session, self.stages, pieces(), base, coarser, random_numbers)
            for stage in self.stages:
                stage.statistics.begin_run()
            for p in self._session.model.parameters():
                p.grad = None
            try:
                with self._ranks.exchanging():
                    run_step(self.stages, count, run.part, run.rows)
            except StageError as error:
                raise error.error from None
            if not self._leaves_grid(run.peaks, base, coarser):
                break
        self._stack.coarsened = base + max(coarser)
        for stage in self.stages:
            stage.statistics.end_step(count)
        if getattr(self._session.config.model, "stochastic_depth", 0.0):
            self._drop_empty_gradients()
        return torch.full((2,), -0.0, device=self._session.device) if run.sums is None else run.sums.float()

    def _drop_empty_gradients(self) -> None:
        """Leave a shared weight without a gradient if no layer that uses it was evaluated, as one process does.

        Stages hand on a sum of -0 for such a weight, see `SharedSums`.
        """
        parameters = dict(self._session.model.named_parameters())
        for owned in self._synced:
            p = parameters.get(owned.name)
            if p is not None and p.grad is not None and bool(((p.grad == 0.0) & p.grad.signbit()).all()):
                p.grad = None

    def _leaves_grid(self, peaks: Tensor, base: int, coarser: list[int]) -> bool:
        """Return whether a part has left the grid, in any stage, so that the step has to be taken again; note what it needs."""
        if self._stack.state == "plain":
            return False
        dtype = self.stages[0].dtype
        with self._ranks.exchanging():
            dist.all_reduce(peaks, dist.ReduceOp.MAX)
        found = False
        for n, peak in enumerate(peaks.tolist()):
            try:
                check_range(peak, GRID_BITS[dtype] - base - coarser[n], dtype)
            except StateRangeError as error:
                if error.needed is None or error.needed < COARSEST or coarser[n]:
                    raise
                if self._ranks.leads:
                    warnings.warn(f"{error} Going on with 2^-{error.needed}.", stacklevel=2)
                coarser[n] = error.bits - error.needed
                found = True
        return found

    # --- after a step ---------------------------------------------------------------------------------------------------

    def share_weights(self) -> None:
        """Give the weights that several stages use to all of them, from the stage that owns them."""
        if not self._synced:
            return
        own = {stage.index for stage in self.stages}
        parameters = dict(self._session.model.named_parameters())
        sizes = [self.cut.numel[owned.name] for owned in self._synced]
        flat = torch.full((sum(sizes),), -0.0, device=self._session.device)
        parts = dict(zip([owned.name for owned in self._synced], flat.split(sizes), strict=True))
        for owned in self._synced:
            if owned.owner in own:
                parts[owned.name].copy_(parameters[owned.name].detach().reshape(-1))
        flat = self._ranks.sum(flat)
        parts = dict(zip(parts, flat.split(sizes), strict=True))
        with torch.no_grad():
            for name, value in parts.items():
                if name in parameters:
                    parameters[name].copy_(value.view_as(parameters[name]))

    def share_random_state(self) -> None:
        """Let all processes go on with the random numbers of the last stage."""
        state = random_state(self._session.device)
        with self._ranks.exchanging():
            dist.broadcast(state, self.rank_of(len(self.cut.layers) - 1))
        set_random_state(self._session.device, state)

    def clip(self, model: nn.Module, clip_norm: float | None) -> Tensor:
        """Scale the gradient of the whole network down to the norm `clip_norm`, and return its norm before, as one process does.

        The norm of each parameter's gradient is that of one process, and so is that of these norms, in the order of the network.
        """
        number = {owned.name: n for n, owned in enumerate(self.cut.parameters)}
        with_gradient = [(number[name], p.grad) for name, p in model.named_parameters() if p.grad is not None]
        found = torch.full((2, len(number)), -0.0, device=self._session.device)
        for n, grad in with_gradient:
            found[0, n], found[1, n] = torch.linalg.vector_norm(grad), 1.0
        norms, has_gradient = self._ranks.sum(found).unbind()
        norm = torch.linalg.vector_norm(norms[has_gradient > 0])
        if clip_norm is not None:
            nn.utils.clip_grads_with_norm_(model.parameters(), clip_norm, norm)
        return norm

    # --- evaluation -----------------------------------------------------------------------------------------------------

    def evaluator(self, outputs: int) -> nn.Module:
        """Return a network in evaluation mode whose logits are right in the process of the last stage, and 0 in the others."""
        return _Evaluator(self, outputs)

    def note_batch(self) -> None:
        """Note that an evaluation begins its next batch: all processes note as many, so that one that hangs can be named."""
        with self._ranks.exchanging():
            pass

    def send(self, state: Tensor, stage: int) -> None:
        """Send a state to another stage."""
        if state.numel():
            with self._ranks.waiting():
                dist.send(state.contiguous(), self.rank_of(stage))

    def receive(self, state: Tensor, stage: int) -> None:
        """Receive a state from another stage."""
        if state.numel():
            with self._ranks.waiting():
                dist.recv(state, self.rank_of(stage))


class _Run:
    """One way of the parts of a step through the stages of this process.

    Attributes:
        peaks: float64 (count,): the largest magnitude of the state of each part.
        sums: loss without and with the auxiliary loss, in the process of the last stage.
    """

    def __init__(
        self,
        session: Session,
        stages: list[Stage],
        pieces: Pieces,
        base: int,
        coarser: list[int],
        random_numbers: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        self._session, self._base, self._coarser, self._random_numbers = session, base, coarser, random_numbers
        self._parts = PartsOnTheirWay(pieces, len(stages))
        self.rows = self._parts.rows
        self.peaks = torch.zeros(len(coarser), dtype=torch.float64, device=session.device)
        self.sums: Tensor | None = None

    def part(self, stage: Stage, n: int, received: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run part `n` of the step forward in a stage; see `RunPart`."""
        session, part = self._session, self._parts.use(n)
        config = session.config
        stage.stack.coarsened = self._base + self._coarser[n]
        state, carry = received or (None, None)
        with self._random_numbers(part.number), stage.statistics.of_part(n), autocast(session.device, config.amp):
            if config.label_inputs and not part.has_labels:
                part.batch = show_some_labels(part.batch, config.label_inputs, session.dataset.objective)
                part.has_labels = True
            out = stage.forward(part.batch, state, carry, frozen=bool(self._coarser[n]))
        if stage.peak is not None:
            self.peaks[n] = torch.maximum(self.peaks[n], stage.peak)
        if not stage.is_last:
            return out
        loss, auxiliary = losses(session, part.batch, out[0], part.share)
        total = loss if auxiliary is None else loss + auxiliary
        found = torch.stack([loss.detach(), total.detach()])
        self.sums = found if self.sums is None else self.sums + found
        return (torch.stack([total]),)  # no view: torch lets go of what was computed on the way to it once it is differentiated


class _Evaluator(nn.Module):
    """Takes one batch after the other through the stages. The first process works on the next while the others are at this one."""

    def __init__(self, pipeline: Pipeline, outputs: int) -> None:
        super().__init__()
        self._pipeline, self._outputs = pipeline, outputs
        self.model = pipeline.stages[0].model

    def forward(self, graph: Graph, x: Tensor | None, species: Tensor | None = None, **targets: Tensor) -> Tensor:
        pipeline = self._pipeline
        pipeline.note_batch()
        # all that a stage needs of a batch
        batch = Batch(None, graph, x, species, torch.zeros(0), torch.zeros(0), 0, targets=targets)
        out = torch.zeros(_rows(graph, targets), self._outputs, device=graph.device)
        for stage in pipeline.stages:
            state = None
            if not stage.is_first:
                state = torch.empty(graph.num_nodes, stage.channels, dtype=stage.dtype, device=stage.device)
                pipeline.receive(state, stage.index - 1)
            (found,) = stage.forward(batch, state, None)
            if stage.is_last:
                out = found
            else:
                pipeline.send(found, stage.index + 1)
        return out


def _rows(graph: Graph, targets: dict[str, Tensor]) -> int:
    """Return how many logits a batch has: of nodes, of graphs that begin where `targets` says, or of pairs."""
    if "targets" not in targets:
        return graph.num_nodes
    of = targets["targets"]
    return len(of) - 1 if of.dim() == 1 else of.shape[1]


def _keep_own_moments(session: Session) -> None:
    """Give the session an optimiser of the parameters that are left, with what the old one knows of them."""
    before = session.optimizer.state
    session.optimizer = build_optimizer(session.config.optim, session.model)
    for p in session.model.parameters():
        if p in before:
            session.optimizer.state[p] = before[p]
