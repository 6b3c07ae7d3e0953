"""The folder of a run: config.yaml, environment.json, metrics.jsonl, best.safetensors, last.safetensors, result.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from revgnn.train.config import ConfigError, RunConfig
from revgnn.train.run.checkpoint import State, load_state, load_weights, save_state, save_weights
from revgnn.train.run.environment import describe
from revgnn.train.run.events import EpochEnded
from revgnn.train.run.files import write_json, write_text
from revgnn.train.run.session import Session
from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors


class RunFolderError(ValueError):
    """A folder that cannot be used as asked."""


class RunFolder:
    """Names and writes the files of one run. Each is replaced in one step, so a run may be killed at any time.

    metrics.jsonl alone is appended to, a line an epoch; what stands behind the last saved state is cut off on resume.
    """

    TEACHER = "teacher.safetensors"
    """Only in the folder of a student: its teacher's logits."""

    FILES = ("config.yaml", "environment.json", "metrics.jsonl", "best.safetensors", "last.safetensors", "result.json")

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file, self.environment_file, self.metrics_file, self.best_file, self.last_file, self.result_file = (
            self.path / name for name in self.FILES
        )
        self.teacher_file = self.path / self.TEACHER

    @staticmethod
    def name_in_sweep(split: int | str, seed: int) -> str:
        """What the folder of one run of a sweep is called."""
        return f"split-{split}-seed-{seed}"

    # --- before a run -----------------------------------------------------------------------------------------------

    def check(self, config: RunConfig, *, resume: bool = False, overwrite: bool = False) -> None:
        """Refuse, before anything is loaded or touched, a folder that this run must not write to.

        Raises:
            RunFolderError: it is a file, it holds something and neither `resume` nor `overwrite` is given, or the run
                in it differs from `config` in a key that matters (all such keys are named).
        """
        if resume and overwrite:
            raise RunFolderError("--resume goes on with a run and --overwrite replaces it; give one of them.")
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; choose a folder to write to.")
        if overwrite or not self.path.exists() or not any(self.path.iterdir()):
            return
        if not resume:
            kind = "already holds a run" if self.config_file.exists() else "is not empty"
            raise RunFolderError(
                f"{self.path} {kind}; go on with it by --resume, replace it by --overwrite, or choose another --out."
            )
        if not self.config_file.exists():
            raise RunFolderError(f"{self.path} has files but no config.yaml, so it is no run to resume; choose another --out.")
        differences = self.config().differences(config)
        if differences:
            listed = "; ".join(f"{key} was {old!r}, is now {new!r}" for key, (old, new) in differences.items())
            raise RunFolderError(
                f"{self.path} holds a run with another configuration: {listed}. Resume it unchanged, or choose another --out."
            )

    def begin(self, session: Session, *, resume: bool) -> State:
        """Make the folder ready; bring the session to the saved state when resuming.

        Raises:
            CheckpointError: if the saved state is damaged; the message says what can still be done.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        state = self._restore(session) if resume and self.last_file.exists() else State()
        if state.epoch == state.step == 0:
            self._remove_own_files()
        if self.metrics_file.exists():
            with open(self.metrics_file, "rb+") as file:
                file.truncate(state.metrics_bytes)
        self.result_file.unlink(missing_ok=True)
        if session.teacher is not None and not self.teacher_file.exists():
            write_tensors(self.teacher_file, {"logits": session.teacher}, {"kind": "teacher"})
        write_text(self.config_file, session.config.to_yaml())
        write_json(self.environment_file, describe(session.device))
        return state

    def _restore(self, session: Session) -> State:
        try:
            state = load_state(self.last_file, session)
        except CheckpointError as error:
            best = f"; the best weights so far can still be used (revgnn evaluate {self.path})" if self.best_file.exists() else ""
            raise CheckpointError(f"{error} This run cannot be resumed{best}; start it again with --overwrite.") from None
        size = self.metrics_file.stat().st_size if self.metrics_file.exists() else 0
        if size < state.metrics_bytes:
            raise CheckpointError(
                f"{self.metrics_file} has {size} bytes, but had {state.metrics_bytes} when the state was saved. "
                "Put it back, or start again with --overwrite."
            )
        return state

    def _remove_own_files(self) -> None:
        """Ours alone: whatever else lies in the folder is not touched."""
        for name in (*self.FILES, self.TEACHER):
            (self.path / name).unlink(missing_ok=True)
            for leftover in self.path.glob(f".{name}.*.tmp"):  # of a process killed while it wrote
                leftover.unlink(missing_ok=True)

    def kept_teacher(self) -> Tensor | None:
        """The teacher's logits that a student's folder holds, or None if it has none yet.

        Raises:
            CheckpointError: if they are damaged.
        """
        if not self.teacher_file.exists():
            return None
        tensors, _ = read_tensors(self.teacher_file)
        if tensors.keys() != {"logits"}:
            raise CheckpointError(f"{self.teacher_file} holds {', '.join(tensors) or 'nothing'}, not a teacher's logits.")
        return tensors["logits"]

    # --- during a run -----------------------------------------------------------------------------------------------

    def append(self, record: EpochEnded) -> int:
        """Add the epoch's line to metrics.jsonl; returns the length of the file then, in bytes.

        What a run does not have (`skipped_steps` but for fp16, `solves` but for equilibria) is left out of its lines.
        """
        line: dict[str, Any] = {
            "epoch": record.epoch,
            "loss": record.loss,
            "train": record.train,
            "valid": record.valid,
            "test": record.test,
            "seconds": round(record.seconds, 6),
            "evaluation_seconds": round(record.evaluation_seconds, 6),
            "peak_bytes": record.peak_bytes,
        }
        if record.skipped_steps is not None:
            line["skipped_steps"] = record.skipped_steps
        for name, solves in (("solves", record.solves), ("evaluation_solves", record.evaluation_solves)):
            if solves is not None:
                line[name] = asdict(solves)
        with open(self.metrics_file, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            return file.tell()

    def save_last(self, session: Session, state: State) -> None:
        save_state(self.last_file, session, state)

    def save_best(self, session: Session, epoch: int, score: float) -> None:
        save_weights(self.best_file, session.model, {"epoch": epoch, "valid": score})

    def save_result(self, result: dict[str, Any]) -> None:
        write_json(self.result_file, result)

    # --- after a run ------------------------------------------------------------------------------------------------

    def config(self) -> RunConfig:
        """
        Raises:
            ConfigError: if this is not the folder of a run, or config.yaml cannot be read.
        """
        return RunConfig.from_yaml(self.config_path())

    def config_path(self) -> Path:
        """Where the run's configuration is.

        Raises:
            ConfigError: if this is not the folder of a run.
        """
        if not self.path.is_dir():
            raise ConfigError(f"{self.path} is not a folder; give the folder of a run (the --out of revgnn train).")
        if not self.config_file.is_file():
            raise ConfigError(f"{self.path} is not the folder of a run: it has no config.yaml.")
        return self.config_file

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut short by a kill is left out."""
        if not self.metrics_file.exists():
            return []
        text = self.metrics_file.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def result(self) -> dict[str, Any] | None:
        """result.json, or None while the run is not finished."""
        return json.loads(self.result_file.read_text(encoding="utf-8")) if self.result_file.exists() else None

    def restore_best(self, session: Session) -> dict[str, Any]:
        """Fill the session's model with the best weights; returns their note (`epoch`, `valid`).

        Raises:
            FileNotFoundError: if no epoch has been evaluated yet.
            CheckpointError: if the file is damaged or does not fit.
        """
        if not self.best_file.exists():
            raise FileNotFoundError(f"{self.best_file} does not exist: the run has not finished its first evaluation yet.")
        weights, note = read_tensors(self.best_file)
        load_weights(session.model, weights, self.best_file)
        return note
