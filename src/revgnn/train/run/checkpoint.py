"""The saved state of a run: weights, optimiser state, random states and progress. A resumed run repeats it bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.models import TrainingState
from revgnn.train.config import earlier_digests
from revgnn.train.datasets import features_checksum
from revgnn.train.run.changed_data import check_same_data
from revgnn.train.run.session import Session, restore_scale, scale_note
from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors

_FORMAT = 1

MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.Adam: ("exp_avg", "exp_avg_sq"),
    torch.optim.RMSprop: ("square_avg",),
}
"""What an optimiser keeps for each parameter besides the number of steps: tensors of the shape of the parameter."""


@dataclass
class State:
    """The progress of a run. The parts of an epoch follow from the seed and the epoch, so their order is not saved."""

    epoch: int = 0
    """Epochs completed."""
    step: int = 0
    """Steps completed in the current epoch."""
    loss_sum: float = 0.0
    """Loss of the current epoch, summed over `loss_count` labelled training nodes."""
    loss_count: int = 0
    seconds: float = 0.0
    """Training time in the current epoch."""
    peak_bytes: int = 0
    """Peak memory of the first epoch."""
    best_epoch: int = 0
    best_score: float | None = None
    metrics_bytes: int = 0
    """Length of metrics.jsonl when the state was saved. Lines after it belong to epochs that a resumed run repeats."""
    metrics_lines: list[int] = field(default_factory=list)
    """CRC-32 of each of its lines, by which a resumed run finds those that were changed; empty in states of earlier versions."""


def save_state(path: Path, session: Session, state: State) -> None:
    """Write the whole state to one file. The old file stays until the new one is complete."""
    write_tensors(path, *describe_state(session, state))


def describe_state(session: Session, state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the whole state of a run: tensors by name, and values that JSON can hold."""
    optimizer = session.optimizer.state_dict()
    tensors: dict[str, Tensor] = {f"model.{name}": t for name, t in session.model.state_dict().items()}
    for index, moments in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": t for name, t in moments.items()}
    tensors |= other_tensors(session)
    return tensors, describe_progress(session, state)


def other_tensors(session: Session) -> dict[str, Tensor]:
    """Return the tensors of a run's state besides its weights and the optimiser's moments."""
    tensors = dict(session.model.training_state().tensors)
    tensors["rng.cpu"] = torch.get_rng_state()
    if session.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(session.device)
    return tensors


def describe_progress(session: Session, state: State) -> dict[str, Any]:
    """Return the values of a run's state that JSON can hold: all that are no tensors."""
    return {
        "format": _FORMAT,
        "config": session.config.digest,
        "state": asdict(state),
        "scaler": session.scaler.state_dict(),
        "data": dict(session.fingerprint),
        **scale_note(session),
        **session.model.training_state().values,
    }


def load_state(path: Path, session: Session, *, allow_changed_data: bool = False) -> State:
    """Restore a session and torch's random generators from the file.

    Raises:
        FileNotFoundError: if the file is missing.
        CheckpointError: if it is damaged or belongs to another run.
        ChangedDataError: if the session's data are not those of the file; with `allow_changed_data` it is a warning.
    """
    tensors, note = read_tensors(path)
    is_current = check_saved(note, session, path, allow_changed_data=allow_changed_data)
    progress = restore_state(tensors, note, session, path)
    if not is_current:  # before config.yaml is written again, since the file's digest is that of the old one
        save_state(path, session, progress)
    return progress


class StateFile:
    """How the file of a run's state is read and written when the run begins: by `load_state` and `save_state`."""

    def load(self, path: Path, session: Session, *, allow_changed_data: bool = False) -> State:
        """Restore a session; see `load_state`."""
        return load_state(path, session, allow_changed_data=allow_changed_data)

    def save(self, path: Path, session: Session, state: State) -> None:
        """Write the state again, since the file of an earlier version or its record was repaired."""
        save_state(path, session, state)


def check_saved(note: dict[str, Any], session: Session, path: Path, *, allow_changed_data: bool = False) -> bool:
    """Return whether a saved state has the digest that this version gives the run. If not, it must be saved again.

    Args:
        note: of the file at `path`.

    Raises:
        CheckpointError, ChangedDataError: see `load_state`.
    """
    if note.get("format") != _FORMAT:
        raise CheckpointError(f"{path} has format {note.get('format')!r}, this version reads format {_FORMAT}.")
    _check_note(note, path)
    is_current = note["config"] == session.config.digest
    if not is_current and note["config"] not in earlier_digests(path.with_name("config.yaml")):
        raise CheckpointError(f"{path} belongs to a run with another configuration than the config.yaml in the same folder.")
    if "features" in note:
        _check_features_file(note["features"], session)
    check_same_data(note, session.fingerprint, path.parent, allow_changed=allow_changed_data)
    return is_current


def restore_state(tensors: dict[str, Tensor], note: dict[str, Any], session: Session, path: Path) -> State:
    """Restore a session and torch's random generators from what `describe_state` returned, and return the progress of the run.

    Args:
        path: where it was found, for messages.

    Raises:
        CheckpointError: if it does not fit the session.
    """
    groups = by_prefix(tensors)
    load_weights(session.model, groups["model"], path)
    _load_optimizer(session.optimizer, groups.get("optimizer", {}), path)
    return restore_progress(tensors, note, session, path)


def restore_progress(tensors: dict[str, Tensor], note: dict[str, Any], session: Session, path: Path) -> State:
    """Restore what `restore_state` does besides weights and moments, from `other_tensors` and `describe_progress`."""
    groups = by_prefix(tensors)
    restore_scale(session, note, path)
    session.model.restore_training_state(TrainingState(tensors, note))
    session.scaler.load_state_dict(note["scaler"])
    if unknown := groups.get("rng", {}).keys() - {"cpu", "cuda"}:
        raise CheckpointError(f"rng.{min(unknown)} in {path} is no state of a random generator that this version knows.")
    try:
        torch.set_rng_state(groups["rng"]["cpu"])
        if session.device.type == "cuda" and "cuda" in groups["rng"]:
            torch.cuda.set_rng_state(groups["rng"]["cuda"], session.device)
    except (KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path} has no state of torch's random generators that this version can use ({error}).") from None
    return _read_progress(note["state"], path)


def save_weights(path: Path, model: nn.Module, note: dict[str, Any]) -> None:
    """Write a model's weights and buffers, with a note that JSON can hold."""
    write_tensors(path, model.state_dict(), note)


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights into a model. Names, shapes and dtypes must be exactly the model's.

    Raises:
        CheckpointError: naming the first weight that is missing, unknown, or of another shape or dtype.
    """
    check_weights(model, weights, path)
    model.load_state_dict(weights)


def check_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` for weights that are not the model's by name, shape or dtype. They may be on the meta device."""
    own = model.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        if name not in weights or name not in own:
            where = "is missing from" if name not in weights else "is not part of this model but of"
            raise CheckpointError(f"weight {name} {where} {path}; it belongs to another model.")
        if own[name].shape != weights[name].shape:
            raise CheckpointError(
                f"weight {name} in {path} has shape {tuple(weights[name].shape)}, the model's has {tuple(own[name].shape)}; "
                "the data set or the configuration has changed."
            )
        if own[name].dtype != weights[name].dtype:
            raise CheckpointError(f"weight {name} in {path} is {weights[name].dtype}, the model's is {own[name].dtype}.")


def _check_note(note: dict[str, Any], path: Path) -> None:
    """Raise `CheckpointError` if a part of the note is missing or of another kind. States of earlier versions have no "data"."""
    kinds = {"config": str, "state": dict, "scaler": dict, **({"data": dict} if "data" in note else {})}
    for key, kind in kinds.items():
        if not isinstance(note.get(key), kind):
            raise CheckpointError(f"{path} is damaged or was not written by revgnn: {key} in its note is not what a run saves.")


def _check_features_file(checksum: int | None, session: Session) -> None:
    """Raise `CheckpointError` if the file of node features is not that of a state of an earlier version."""
    data = session.config.data
    if data is not None and features_checksum(data) != checksum:
        raise CheckpointError(
            f"{data.node_features} has another content than when this run's state was saved; restore the old file."
        )


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], path: Path) -> None:
    """Restore the optimiser's state of each parameter. Its settings are those of the run's configuration, not of the file.

    Args:
        tensors: by number of the parameter and name, such as "0.exp_avg".

    Raises:
        CheckpointError: naming the first tensor that is missing, unknown, or of another shape or dtype than its parameter.
    """
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    state = check_moments(optimizer, parameters, tensors, path)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def check_moments(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], tensors: dict[str, Tensor], path: Path
) -> dict[int, dict[str, Tensor]]:
    """Return the optimiser's state by number of the parameter and name. Tensors may be on the meta device.

    Raises:
        CheckpointError: as `_load_optimizer`.
    """
    moments = MOMENTS[type(optimizer)]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, moment = name.partition(".")
        if not index.isdecimal() or int(index) >= len(parameters) or moment not in (*moments, "step"):
            raise CheckpointError(f"optimizer.{name} in {path} is not part of this run's optimiser; the file is of another run.")
        parameter = parameters[int(index)]
        shape, dtype = (torch.Size(), torch.float32) if moment == "step" else (parameter.shape, parameter.dtype)
        if tensor.shape != shape or tensor.dtype != dtype:
            raise CheckpointError(
                f"optimizer.{name} in {path} is {tensor.dtype} of shape {tuple(tensor.shape)}; this run's is {dtype} of shape "
                f"{tuple(shape)}."
            )
        state.setdefault(int(index), {})[moment] = tensor
    for index, found in state.items():
        if missing := {*moments, "step"} - found.keys():
            raise CheckpointError(f"optimizer.{index}.{min(missing)} is missing from {path}; it is damaged or of another run.")
    return state


def by_prefix(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return tensors by the first word of their names, then by the rest."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        groups.setdefault(prefix, {})[rest] = tensor
    return groups


def _read_progress(values: dict[str, Any], path: Path) -> State:
    if values.keys() | {"metrics_lines"} != {field.name for field in fields(State)}:
        raise CheckpointError(f"{path} holds a state of another version: {', '.join(values)}.")
    state = State(**values)
    for name in ("loss_sum", "seconds", *(["best_score"] if state.best_score is not None else [])):
        if type(values[name]) is not float:
            raise CheckpointError(f"{path} holds a state that no run can have: {name}={values[name]!r}.")
    counts = (state.epoch, state.step, state.loss_count, state.peak_bytes, state.best_epoch, state.metrics_bytes)
    if type(state.metrics_lines) is not list:
        raise CheckpointError(f"{path} holds a state that no run can have: metrics_lines={state.metrics_lines!r}.")
    counts += tuple(state.metrics_lines)
    if not all(type(count) is int and count >= 0 for count in counts) or (state.best_score is None) != (state.best_epoch == 0):
        raise CheckpointError(f"{path} holds a state that no run can have: {', '.join(f'{k}={v!r}' for k, v in values.items())}.")
    return state
