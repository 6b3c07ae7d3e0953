"""What a student learns from: the logits of a finished run's best weights, evaluated as that run was.

They are worked out once, when the student starts, and lie in its folder from then on: going on with the student needs its teacher
no more, and gives the same bits wherever the teacher has gone.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.inference.evaluation import infer
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session, make_batches, prepare
from revgnn.train.run.tensor_file import CheckpointError

_FREE = {"root", "download"}
"""Keys of the data that say where it lies, not what it is."""


def attach_teacher(session: Session, folder: RunFolder, *, resume: bool) -> None:
    """Give the session its teacher's logits, if its configuration names a teacher. Torch's generators stay where they are.

    Args:
        folder: of the student; with `resume` the logits kept there are taken.

    Raises:
        ValueError: no teacher is named, it is not finished, or it was trained on other data, labels or splits.
        OSError: if its folder or data cannot be read.
    """
    if session.config.distillation is None:
        return
    kept = folder.kept_teacher() if resume else None
    if kept is None:
        session.teacher = teacher_logits(session)
    else:
        _check_size(kept, session.dataset, folder.path)
        session.teacher = kept
    session.batches = make_batches(session.config, session.dataset, session.device, session.teacher)


def check_teacher(config: RunConfig, folder: RunFolder, *, resume: bool) -> None:
    """Refuse, before anything is loaded, a run whose teacher is not there. Arguments and errors as in `attach_teacher`."""
    if config.distillation is not None and not (resume and folder.teacher_file.exists()):
        teacher_folder(config)


def teacher_logits(session: Session) -> Tensor:
    """float32 (N, outputs), on the CPU: what the teacher of a session predicts for all nodes."""
    folder = RunFolder(teacher_folder(session.config))
    config = _for_student(folder.config(), session.config)
    devices = [session.device] if session.device.type == "cuda" else []
    same_data = config.data is not None and session.config.data is not None and _what(config) == _what(session.config)
    # What the graph works out on first use must not be there before the student's first epoch, whose memory is measured.
    data = replace(session.dataset, graph=copy.copy(session.dataset.graph)) if same_data else None
    with torch.random.fork_rng(devices):  # building the teacher draws random numbers, and the student must not notice
        teacher = prepare(config, data)
        _check_fits(teacher.dataset, session.dataset, folder.path)
        folder.restore_best(teacher)
        return infer(teacher.model, teacher.batches, config.evaluation, config.seed)


def teacher_folder(config: RunConfig) -> Path:
    """The folder of the run that a configuration learns from: the one it names, or the one of that sweep with its split and seed.

    Raises:
        ConfigError: none is named, there is none, or it is not finished.
    """
    assert config.distillation is not None
    assert config.data is not None
    if config.distillation.teacher is None:
        raise ConfigError("this run learns from a teacher: name the folder of a finished run by --teacher DIR.")
    path = Path(config.distillation.teacher)
    if not RunFolder(path).config_file.exists():
        name = RunFolder.name_in_sweep(config.data.split, config.seed)
        there = sorted(run.parent.name for run in path.glob("split-*-seed-*/config.yaml"))
        if name not in there:
            found = f"it holds {', '.join(there)}" if there else "it is not the folder of a run, nor of a sweep"
            raise ConfigError(
                f"{path} has no teacher for split {config.data.split}, seed {config.seed}: {found}. "
                f"Train one there first (the run {name}), or name one run."
            )
        path = path / name
    if RunFolder(path).result() is None:
        raise ConfigError(f"the teacher in {path} is not finished; go on with it first: revgnn train --resume --out {path}.")
    return path


def _for_student(teacher: RunConfig, student: RunConfig) -> RunConfig:
    """The teacher's configuration on the student's device, with its data where the student's is if that is the same set."""
    assert student.data is not None
    changes: dict[str, object] = {"device": student.device}
    if teacher.data is not None and teacher.data.name == student.data.name and student.data.root is not None:
        changes["data.root"] = student.data.root
    return teacher.replace(changes)


def _what(config: RunConfig) -> dict[str, object]:
    assert config.data is not None
    return config.data.model_dump(exclude=_FREE)


def _check_fits(teacher: NodeDataset, student: NodeDataset, folder: Path) -> None:
    """A teacher must know the same nodes and labels, and must not have been trained on nodes that judge the student."""
    if (teacher.num_nodes, teacher.task, teacher.num_outputs) != (student.num_nodes, student.task, student.num_outputs):
        raise ConfigError(
            f"the teacher in {folder} was trained on other data: {teacher.summary()}; this run's is {student.summary()}."
        )
    if not torch.equal(teacher.y.nan_to_num(-1), student.y.nan_to_num(-1)):
        raise ConfigError(f"the teacher in {folder} was trained on other labels ({teacher.name}) than this run's ({student.name}).")
    for part in ("train", "valid", "test"):
        a, b = (getattr(data.split, part).sort().values for data in (teacher, student))
        if not torch.equal(a, b):
            name = {"train": "training", "valid": "validation", "test": "test"}[part]
            raise ConfigError(
                f"the teacher in {folder} has other {name} nodes than this run, whose scores it would spoil; "
                "teach by a run on the same split."
            )


def _check_size(logits: Tensor, dataset: NodeDataset, folder: Path) -> None:
    if logits.shape != (dataset.num_nodes, dataset.num_outputs):
        raise CheckpointError(
            f"the teacher's logits kept in {folder} are {tuple(logits.shape)}, and the data set has {dataset.num_nodes} nodes and "
            f"{dataset.num_outputs} outputs; start again with --overwrite."
        )
