"""The teacher of a run: the logits of a finished run's best weights, evaluated as that run evaluates itself.

They are computed once, when the student starts, and saved in the student's folder. A resumed student reads them from there: it
gives the same bits even if the teacher's folder is gone.
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
from revgnn.train.inference.views import infer
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session, make_batches, prepare
from revgnn.train.run.tensor_file import CheckpointError

_LOCATION_KEYS = {"root", "download", "archive"}
"""Keys of the data configuration that do not change the data set, only where it is found."""


def attach_teacher(session: Session, folder: RunFolder, *, resume: bool) -> None:
    """Give the session its teacher's logits, if its configuration has a teacher. Torch's generators are left unchanged.

    Args:
        folder: the student's folder. With `resume`, the logits saved there are used.

    Raises:
        ValueError: if no teacher is named, if it is not finished, or if it was trained on other data, labels or splits.
        OSError: if the teacher's folder or data cannot be read.
    """
    if session.config.distillation is None:
        return
    saved = folder.load_teacher() if resume else None
    if saved is None:
        session.teacher = teacher_logits(session)
    else:
        _check_size(saved, session.dataset, folder.path)
        session.teacher = saved
    session.batches = make_batches(session.config, session.dataset, session.device, session.teacher)


def check_teacher(config: RunConfig, folder: RunFolder, *, resume: bool) -> None:
    """Raise `ConfigError` if the run has a teacher that does not exist or is not finished. No data is loaded."""
    if config.distillation is not None and not (resume and folder.teacher_file.exists()):
        teacher_folder(config)


def teacher_logits(session: Session) -> Tensor:
    """Return the logits of the session's teacher for all nodes: float32 (N, outputs), on the CPU."""
    folder = RunFolder(teacher_folder(session.config))
    config = _for_student(folder.config(), session.config)
    same_data = config.data is not None and session.config.data is not None and _data_keys(config) == _data_keys(session.config)
    # The copy of the graph keeps the index that the teacher builds out of the student's first epoch, whose memory is measured.
    dataset = replace(session.dataset, graph=copy.copy(session.dataset.graph)) if same_data else None
    with own_random_numbers(session.device):  # building the teacher draws random numbers
        teacher = prepare(config, dataset, session.fingerprint if same_data else None)
        _check_same_data(teacher.dataset, session.dataset, folder.path)
        folder.restore_best(teacher)
        return infer(teacher.model, teacher.batches, config.evaluation, config.seed)


def teacher_folder(config: RunConfig) -> Path:
    """Return the folder of the teacher: the run that the configuration names, or the run of that sweep with its split and seed.

    Raises:
        ConfigError: if no teacher is named, if it does not exist, or if it is not finished.
    """
    assert config.distillation is not None
    assert config.data is not None
    if config.distillation.teacher is None:
        raise ConfigError("distillation needs a teacher; name the folder of a finished run with --teacher DIR.")
    path = Path(config.distillation.teacher)
    if not RunFolder(path).config_file.exists():
        name = RunFolder.name_in_sweep(config.data.split, config.seed)
        runs = [run.name for run in RunFolder.runs_of_sweep(path)]
        if name not in runs:
            found = f"it holds {', '.join(runs)}" if runs else "it is not the folder of a run or of a sweep"
            raise ConfigError(
                f"{path} has no teacher for split {config.data.split}, seed {config.seed}: {found}. "
                f"Train the run {name} there first, or name the folder of one run."
            )
        path = path / name
    if RunFolder(path).result() is None:
        raise ConfigError(f"the teacher in {path} is not finished; finish it first: revgnn train --resume --out {path}.")
    return path


def _for_student(teacher: RunConfig, student: RunConfig) -> RunConfig:
    """Return the teacher's configuration on the student's device and, for the same data set, with the student's `data.root`."""
    assert student.data is not None
    changes: dict[str, object] = {"device": student.device}
    if teacher.data is not None and teacher.data.name == student.data.name and student.data.root is not None:
        changes["data.root"] = student.data.root
    return teacher.replace(changes)


def _data_keys(config: RunConfig) -> dict[str, object]:
    assert config.data is not None
    return config.data.model_dump(exclude=_LOCATION_KEYS)


def _check_same_data(teacher: NodeDataset, student: NodeDataset, folder: Path) -> None:
    """Raise `ConfigError` if a teacher has other nodes, labels or splits: it may know labels that the student is scored on."""
    if (teacher.num_rows, teacher.task, teacher.num_outputs) != (student.num_rows, student.task, student.num_outputs):
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
                f"the teacher in {folder} has other {name} nodes than this run, and may know labels that this run is scored on; "
                "use a teacher trained on the same split."
            )


def _check_size(logits: Tensor, dataset: NodeDataset, folder: Path) -> None:
    if logits.shape != (dataset.num_rows, dataset.num_outputs):
        raise CheckpointError(
            f"the teacher's logits saved in {folder} have shape {tuple(logits.shape)}, and the data set has {dataset.num_rows} "
            f"{dataset.row}s and {dataset.num_outputs} outputs; start again with --overwrite."
        )
