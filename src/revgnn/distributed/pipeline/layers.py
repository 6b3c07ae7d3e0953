"""A run whose layers are cut over processes: `--parallel layers`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from revgnn.distributed.pipeline.cut import Cut
from revgnn.distributed.pipeline.pipeline import Pieces, Pipeline
from revgnn.distributed.pipeline.schedule import bubble
from revgnn.distributed.pipeline.whole import whole_session
from revgnn.distributed.ranks import Ranks
from revgnn.train.batches import AbstractBatches, Batch
from revgnn.train.config import ConfigError, EvalConfig
from revgnn.train.inference.views import ViewSpread, infer, infer_with_spread
from revgnn.train.run.session import Session, Share
from revgnn.train.run.spread import Spread
from revgnn.train.run.steps import EpochSteps, Step
from revgnn.train.run.team import ALONE, GradientExchange, Team

LARGEST_BUBBLE = 0.25
"""Share of a step that processes may wait without a warning."""


class Layers(Spread):
    """Each process has some layers of the stack, the first also the encoder, the last the head. Parts of a step pass through all.

    Args:
        pieces: of the stack, in each process. More than one make processes wait less and send more.
    """

    name = "layers"

    def __init__(self, pieces: int = 1) -> None:
        if pieces < 1:
            raise ValueError(f"a process has at least 1 piece of the stack, got {pieces}.")
        self._each = pieces

    def check(self, session: Session, team: Team) -> None:
        config = session.config
        if team.size == 1:
            raise ConfigError("layers are cut over several processes, and this one is alone; start more by torchrun.")
        for is_there, what, advice in (
            (config.capture, "a step that is one CUDA graph", "set capture=false"),
            (config.amp == "fp16", "amp=fp16, whose scale must fit all of them", "set amp=bf16 or none"),
            (
                config.label_reuse > 0,
                "label_reuse, whose steps pass through the stages several times",
                "set label_reuse=0",
            ),
        ):
            if is_there:
                raise ConfigError(f"layers that are cut over processes cannot run {what}; {advice}, or use --parallel parts.")
        self._check_cut(session, team)
        waiting = bubble(team.size, config.parts_per_step * self._each)
        if team.leads and waiting > LARGEST_BUBBLE:
            warnings.warn(
                f"with parts_per_step={config.parts_per_step} each of {team.size} processes waits for {waiting:.0%} of a step, "
                "since parts pass through them one after the other. A new run may have more parts a step.",
                stacklevel=3,
            )

    def _check_cut(self, session: Session, team: Team) -> None:
        try:
            Cut(session.model, team.size * self._each)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def check_inference(self, session: Session, team: Team) -> None:
        if session.config.label_reuse:
            raise ConfigError(
                "layers that are cut over processes cannot run label_reuse, whose logits become inputs of the first process; use "
                "--parallel parts, graph or weights."
            )
        self._check_cut(session, team)

    def begin(self, session: Session, team: Team) -> None:
        self.begin_inference(session, team)
        session.scaler.clip = self._pipeline.clip

    def begin_inference(self, session: Session, team: Team) -> None:
        assert isinstance(team, Ranks)
        self.team = self._ranks = team
        self._pipeline = Pipeline(session, team, self._each)

    def steps(self, session: Session, epoch: int, start: int, should_stop: Callable[[], bool] = lambda: False) -> EpochSteps:
        return _Steps(session, epoch, start, self._pipeline, self._ranks, should_stop)

    def infer(self, session: Session) -> Tensor:
        return self._of_last(infer(self._evaluator(session), *_how(session)))

    def infer_with_spread(self, session: Session) -> ViewSpread:
        found = infer_with_spread(self._evaluator(session), *_how(session))
        return ViewSpread(*(self._of_last(t) for t in (found.logits, found.logits_std, found.probabilities_std)))

    def _evaluator(self, session: Session) -> nn.Module:
        return self._pipeline.evaluator(session.dataset.num_outputs)

    def _of_last(self, found: Tensor) -> Tensor:
        """Return what the process of the last stage has found, in all processes."""
        return self._ranks.sum(found if self._pipeline.stages[-1].is_last else torch.full_like(found, -0.0))

    def whole(self, session: Session) -> Session:
        return whole_session(session, self._pipeline, self._ranks)

    def check_same(self, session: Session) -> None:
        """Check nothing: each weight has one owner, whose value the others are given after each step."""


def _how(session: Session) -> tuple[AbstractBatches, EvalConfig, int]:
    return session.batches, session.config.evaluation, session.config.seed


class _Steps(EpochSteps):
    """The remaining steps of an epoch, in which all parts pass through all processes."""

    def __init__(
        self, session: Session, epoch: int, start: int, pipeline: Pipeline, ranks: Ranks, should_stop: Callable[[], bool]
    ) -> None:
        super().__init__(session, epoch, start, ALONE, GradientExchange(), should_stop)
        self._pipeline, self._ranks = pipeline, ranks

    @property
    def stopping(self) -> bool:
        return self._stops

    def __iter__(self) -> Iterator[Step]:
        return self._of_several_parts()

    def _take(self, pieces: Iterator[tuple[int, Batch, Share]], count: int, parts: int) -> float:
        session, pipeline = self._session, self._pipeline
        sums = pipeline.differentiate(count, self._repeatable(pieces), self._random_numbers)
        stop = torch.tensor([float(self._should_stop())], device=sums.device)
        loss, total, stops = self._ranks.sum(torch.cat([sums, stop])).unbind()
        value = session.scaler.update(session.model, session.optimizer, loss, total, session.config.optim.clip_norm)
        pipeline.share_weights()
        if session.config.parts_per_step == 1:
            pipeline.share_random_state()
        self._stops = bool(stops)
        return value

    def _repeatable(self, pieces: Pieces) -> Callable[[], Pieces]:
        """Return a function that yields the pieces, and cuts them anew when it is called again."""
        session, seen = self._session, []

        def first() -> Pieces:
            for part, batch, share in pieces:
                seen.append((part, share))
                yield part, batch, share

        def again() -> Pieces:
            batches = session.batches.epoch(session.partition, self._epoch, only=[part for part, _ in seen])
            yield from ((part, batch, share) for (part, share), batch in zip(seen, batches, strict=True))

        return lambda: again() if seen else first()
