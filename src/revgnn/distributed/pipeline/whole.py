"""The session that one process would hold, put together in the leading process from the stages of all."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from revgnn.distributed.pipeline.pipeline import Pipeline
from revgnn.distributed.ranks import Ranks
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.optimization import build_optimizer
from revgnn.train.run.session import Session, build_for

_MODEL, _MOMENT = "model.", "moment."


def whole_session(session: Session, pipeline: Pipeline, ranks: Ranks) -> Session:
    """Return the whole session in the leading process, its weights and moments on the CPU; in the others the session itself."""
    tensors = _collect(_own_tensors(session, pipeline, ranks), ranks)
    if not ranks.leads:
        return session
    with torch.device("meta"), own_random_numbers(torch.device("cpu")):
        model = build_for(session.config, session.dataset)
    weights = {owned.name: tensors[_MODEL + owned.first_name] for owned in pipeline.cut.state}
    model.load_state_dict(weights, assign=True)
    optimizer = build_optimizer(session.config.optim, model)
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(_MOMENT):
            name, _, moment = key.removeprefix(_MOMENT).rpartition(".")
            moments.setdefault(name, {})[moment] = tensor
    for owned, p in zip(pipeline.cut.parameters, model.parameters(), strict=True):
        if owned.name in moments:
            optimizer.state[p] = moments[owned.name]
    return replace(session, model=model, optimizer=optimizer)


def _own_tensors(session: Session, pipeline: Pipeline, ranks: Ranks) -> dict[str, Tensor]:
    """Return weights, buffers and moments that this process owns."""
    cut, state = pipeline.cut, session.model.state_dict()
    own = [owned for owned in cut.state if owned.name == owned.first_name and pipeline.rank_of(owned.owner) == ranks.rank]
    found = {_MODEL + owned.name: state[owned.name] for owned in own}
    owned_here = {owned.name for owned in cut.parameters if pipeline.rank_of(owned.owner) == ranks.rank}
    for name, p in session.model.named_parameters():
        # of a weight that several stages use, only the owner's moments go on
        moments = session.optimizer.state.get(p, {}) if name in owned_here else {}
        found |= {f"{_MOMENT}{name}.{moment}": tensor for moment, tensor in moments.items()}
    return found


def _collect(own: dict[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Return the tensors of all processes, on the CPU, in the leading process."""
    everywhere = ranks.gather([[key, str(t.dtype).removeprefix("torch."), list(t.shape)] for key, t in own.items()])
    found: dict[str, Tensor] = {}
    with ranks.exchanging():
        if not ranks.leads:
            for tensor in own.values():
                dist.send(tensor.detach().cpu().contiguous(), 0)
            return found
        found |= {key: tensor.detach().cpu().clone() for key, tensor in own.items()}
        for rank, listed in enumerate(everywhere[1:], start=1):
            for key, dtype, shape in listed:
                found[key] = torch.empty(shape, dtype=getattr(torch, dtype))
                dist.recv(found[key], rank)
    return found
