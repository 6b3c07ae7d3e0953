"""The folder of a run: config.yaml, environment.json, metrics.jsonl, best.safetensors, last.safetensors, result.json."""

from __future__ import annotations

import json
import warnings
import zlib
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from revgnn.data.fingerprint import changed_parts
from revgnn.data.tables.spec import write_spec
from revgnn.files import append, is_leftover, remove_leftovers, write_json, write_text
from revgnn.train.config import ALSO_FREE_ON_RESUME, ConfigError, RunConfig
from revgnn.train.metrics import Scores
from revgnn.train.run.changed_data import check_same_data
from revgnn.train.run.checkpoint import State, StateFile, load_weights, save_state, save_weights
from revgnn.train.run.environment import describe, with_earlier
from revgnn.train.run.events import EpochEnded
from revgnn.train.run.inputs import Inputs
from revgnn.train.run.lock import LOCK_NAME, RunFolderError, owning
from revgnn.train.run.session import Session, restore_scale, scale_note
from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors

if TYPE_CHECKING:
    from revgnn.data.tables.stored import StoredTables, TableSource


class RunFolder:
    """The files of one run: their names, writing and reading. Each is replaced in one step, so a run may be killed at any time.

    Only metrics.jsonl is appended to, one line per epoch. On resume, lines after the last saved state are removed.
    """

    TEACHER = "teacher.safetensors"
    """The teacher's logits, in the folder of a student only."""

    TABLES = "tables.json"
    """How tables became inputs and outputs, in the folder of a run on tables only; see `revgnn.data.tables.stored`."""

    FILES = ("config.yaml", "environment.json", "metrics.jsonl", "best.safetensors", "last.safetensors", "result.json")

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.tables_file = self.path / self.TABLES
        self.spec_file: Path | None = None
        """The graph.yaml that `begin` wrote; None if there was one, or if the data are no tables."""
        self.config_file, self.environment_file, self.metrics_file, self.best_file, self.last_file, self.result_file = (
            self.path / name for name in self.FILES
        )
        self.teacher_file = self.path / self.TEACHER

    @staticmethod
    def name_in_sweep(split: int | str, seed: int) -> str:
        """Return the name of the folder of one run of a sweep."""
        return f"split-{split}-seed-{seed}"

    @classmethod
    def runs_of_sweep(cls, folder: Path | str) -> list[Path]:
        """Return the folders of the runs of a sweep, by split and seed; none if `folder` is that of a single run."""
        folder = Path(folder)
        if (folder / "config.yaml").exists():
            return []
        found = [run.parent for run in folder.glob("split-*-seed-*/config.yaml")]
        return sorted(found, key=lambda path: [int(word) if word.isdecimal() else word for word in path.name.split("-")[1::2]])

    # --- before training ---------------------------------------------------------------------------------------------

    def owned(self) -> AbstractContextManager[None]:
        """Own the folder within a block: no other process can train into it. See `revgnn.train.run.lock`."""
        return owning(self.path)

    def check(self, config: RunConfig, *, resume: bool = False, overwrite: bool = False) -> None:
        """Raise `RunFolderError` if this run must not write to the folder. Nothing is loaded or changed.

        Raises:
            RunFolderError: if the folder is a file; if it is not empty and neither `resume` nor `overwrite` is given; or if the
                run in it has another configuration (the message names every key that differs).
        """
        if resume and overwrite:
            raise RunFolderError("--resume continues the run in a folder and --overwrite replaces it; give one of them.")
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; choose a folder to write to.")
        if overwrite or not self.path.exists() or all(p.name == LOCK_NAME or is_leftover(p) for p in self.path.iterdir()):
            return
        if not resume:
            kind = "already holds a run" if self.config_file.exists() else "is not empty"
            raise RunFolderError(
                f"{self.path} {kind}; continue it with --resume, replace it with --overwrite, or choose another --out."
            )
        if not self.config_file.exists():
            raise RunFolderError(f"{self.path} has files but no config.yaml, so there is no run to resume; choose another --out.")
        if self.best_file.exists() and not self.last_file.exists() and not self.metrics_file.exists():
            raise RunFolderError(
                f"{self.path} holds weights that were imported, without the state of an optimiser, so it cannot be resumed; train "
                "into another --out."
            )
        differences = self.config().differences(config)
        differences = {key: values for key, values in differences.items() if key not in ALSO_FREE_ON_RESUME}
        if differences:
            listed = "; ".join(f"{key} was {old!r}, is now {new!r}" for key, (old, new) in differences.items())
            why = _why_epochs_are_fixed(config) if "epochs" in differences else ""
            raise RunFolderError(
                f"{self.path} holds a run with another configuration: {listed}.{why} Resume it unchanged, or choose another --out."
            )

    def begin(self, session: Session, *, resume: bool, allow_changed_data: bool = False, file: StateFile | None = None) -> State:
        """Prepare the folder, which this process must own, and return the progress of the run.

        With `resume`, the session is restored from the saved state.

        Args:
            file: reads it; default: by `load_state`.

        Raises:
            CheckpointError: if the saved state is damaged; the message says what can still be used.
            ChangedDataError: if the data are not those of the saved state; with `allow_changed_data` it is a warning.
        """
        for name in (*self.FILES, self.TEACHER, self.TABLES):
            remove_leftovers(self.path / name)
        state, file = State(), file or StateFile()
        if resume and self.last_file.exists():
            state = self._restore_last(session, file, allow_changed_data=allow_changed_data)
        environment = describe(session.device)
        if state.epoch == state.step == 0:
            self._remove_own_files()
        else:
            self._restore_metrics(session, state, file)
            environment = with_earlier(environment, self.environment_file)
        self.result_file.unlink(missing_ok=True)
        if session.teacher is not None and not self.teacher_file.exists():
            write_tensors(self.teacher_file, {"logits": session.teacher}, {"kind": "teacher"})
        write_text(self.config_file, session.config.to_yaml())
        if session.dataset.tables is not None:
            self._write_tables(session.dataset.tables)
        write_json(self.environment_file, environment)
        return state

    def _write_tables(self, tables: TableSource) -> None:
        """Write tables.json, and the graph.yaml of tables that have none yet: beside them, or else here."""
        write_json(self.tables_file, tables.stored.as_dict())
        if tables.report.spec_is_new:
            self.spec_file = write_spec(tables.stored.spec, Path(tables.report.spec), otherwise=self.path)

    def _restore_last(self, session: Session, file: StateFile, *, allow_changed_data: bool) -> State:
        try:
            return file.load(self.last_file, session, allow_changed_data=allow_changed_data)
        except CheckpointError as error:
            best = f"; the best weights so far can still be used (revgnn evaluate {self.path})" if self.best_file.exists() else ""
            raise CheckpointError(f"{error} This run cannot be resumed{best}; start it again with --overwrite.") from None

    def _restore_metrics(self, session: Session, state: State, file: StateFile) -> None:
        """Cut metrics.jsonl back to the epochs of the saved state. If it has lost some, keep the others and warn."""
        content = self.metrics_file.read_bytes() if self.metrics_file.exists() else b""
        known = frozenset(state.metrics_lines)
        lines = _whole_lines(content[: state.metrics_bytes], state.epoch, known)
        is_damaged = sum(map(len, lines)) < state.metrics_bytes
        if is_damaged:
            lines = _whole_lines(content, state.epoch, known)
            warnings.warn(
                f"{self.metrics_file} was damaged after the state was saved: it has {len(lines)} of {state.epoch} epochs. The run "
                "goes on from its saved state; the other epochs are missing from its record.",
                stacklevel=2,
            )
        kept = b"".join(lines)
        if kept != content:
            write_text(self.metrics_file, kept.decode())
        state.metrics_lines = [zlib.crc32(line) for line in lines]
        if is_damaged:
            state.metrics_bytes = len(kept)
            file.save(self.last_file, session, state)

    def _remove_own_files(self) -> None:
        """Remove the files of a run. Other files in the folder stay."""
        for name in (*self.FILES, self.TEACHER, self.TABLES):
            (self.path / name).unlink(missing_ok=True)

    def load_teacher(self) -> Tensor | None:
        """Return the teacher's logits saved in a student's folder; None if there are none yet.

        Raises:
            CheckpointError: if they are damaged.
        """
        if not self.teacher_file.exists():
            return None
        tensors, _ = read_tensors(self.teacher_file)
        if tensors.keys() != {"logits"}:
            raise CheckpointError(f"{self.teacher_file} holds {', '.join(tensors) or 'nothing'}, not a teacher's logits.")
        return tensors["logits"]

    # --- during training ---------------------------------------------------------------------------------------------

    def append_metrics(self, record: EpochEnded) -> tuple[int, int]:
        """Append the epoch's line to metrics.jsonl. Return the new length of the file in bytes, and the CRC-32 of the line.

        `skipped_steps` (fp16 only) and `solves` (equilibria only) are omitted if they are None.
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
        written = json.dumps(line).encode() + b"\n"
        return append(self.metrics_file, written), zlib.crc32(written)

    def save_last(self, session: Session, state: State) -> None:
        """Write last.safetensors, the state to resume from."""
        save_state(self.last_file, session, state)

    def save_best(self, session: Session, epoch: int, scores: Scores) -> None:
        """Write best.safetensors: the present weights, with epoch, scores, thresholds, inputs and the fingerprint of the data."""
        save_weights(self.best_file, session.model, self.best_note(session, epoch, scores))

    def best_note(self, session: Session, epoch: int, scores: Scores) -> dict[str, Any]:
        """Return the note of best.safetensors."""
        inputs = Inputs.of(session.dataset).as_dict()
        note = {"epoch": epoch, **scores.as_dict(), "data": dict(session.fingerprint), "inputs": inputs, **scale_note(session)}
        if scores.thresholds is not None:
            note["thresholds"] = list(scores.thresholds)
        return note

    def best_is_lost(self, session: Session, state: State) -> str | None:
        """Return what is wrong if best.safetensors does not hold the weights that `state` reports as the best; else None."""
        if not self.best_file.exists():
            return f"{self.best_file} is missing"
        try:
            _, note = read_tensors(self.best_file)
        except CheckpointError as error:
            return str(error).rstrip(".")
        if (note.get("epoch"), note.get("valid")) != (state.best_epoch, state.best_score):
            return f"{self.best_file} holds the weights of epoch {note.get('epoch')}, not those of epoch {state.best_epoch}"
        if "data" in note and changed_parts(note["data"], session.fingerprint):
            return f"{self.best_file} holds the best weights for other data"
        return None

    def best_scores(self) -> dict[str, Any]:
        """Return the note of best.safetensors: `epoch` and scores. Runs of earlier versions have only `epoch` and `valid`."""
        return read_tensors(self.best_file)[1]

    def save_result(self, result: dict[str, Any]) -> None:
        """Write result.json, which marks the run as finished."""
        write_json(self.result_file, result)

    # --- reading -----------------------------------------------------------------------------------------------------

    def tables(self) -> StoredTables | None:
        """Return how the run reads tables; None if it was not trained on tables.

        Raises:
            ValueError: if the file is damaged.
        """
        # Only here: pyarrow takes a moment to import.
        from revgnn.data.tables.stored import StoredTables

        if not self.tables_file.is_file():
            return None
        try:
            values = json.loads(self.tables_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.tables_file} is damaged ({error}).") from None
        return StoredTables.from_dict(values, str(self.tables_file))

    def config(self) -> RunConfig:
        """Return the run's configuration.

        Raises:
            ConfigError: if this is not the folder of a run, or config.yaml cannot be read.
        """
        return RunConfig.from_yaml(self.existing_config_file())

    def existing_config_file(self) -> Path:
        """Return the path of config.yaml.

        Raises:
            ConfigError: if this is not the folder of a run.
        """
        if not self.path.is_dir():
            raise ConfigError(f"{self.path} is not a folder; give the folder of a run (the --out of revgnn train).")
        if not self.config_file.is_file():
            raise ConfigError(f"{self.path} is not the folder of a run: it has no config.yaml.")
        return self.config_file

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl. A last line that was cut short is skipped."""
        if not self.metrics_file.exists():
            return []
        text = self.metrics_file.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def result(self) -> dict[str, Any] | None:
        """Return the content of result.json; None if the run is not finished.

        Raises:
            RunFolderError: if the file is damaged.
        """
        if not self.result_file.exists():
            return None
        try:
            return json.loads(self.result_file.read_text(encoding="utf-8"))
        except ValueError:
            raise RunFolderError(f"{self.result_file} is damaged; delete it and resume the run, which writes it again.") from None

    def restore_best(self, session: Session, *, allow_changed_data: bool = False, other_data: bool = False) -> dict[str, Any]:
        """Load the best weights into the session's model, and return their note (`epoch` and scores).

        Args:
            session: whose model gets the weights.
            allow_changed_data: see below.
            other_data: the session's data are another graph on purpose, and not compared.

        Raises:
            FileNotFoundError: if no epoch has been evaluated yet.
            CheckpointError: if the file is damaged or does not fit.
            ChangedDataError: if the session's data are not those that the weights were trained on; with `allow_changed_data` it is
                a warning.
        """
        if not self.best_file.exists():
            raise FileNotFoundError(f"{self.best_file} does not exist; the run has not finished its first evaluation yet.")
        weights, note = read_tensors(self.best_file)
        if not other_data:
            check_same_data(note, session.fingerprint, self.path, allow_changed=allow_changed_data)
        load_weights(session.model, weights, self.best_file)
        restore_scale(session, note, self.best_file)
        return note


def _why_epochs_are_fixed(config: RunConfig) -> str:
    return (
        f" With optim.schedule={config.optim.schedule} the learning rate of each step depends on the number of epochs, and those "
        "already trained would have been others. To train on from its best weights, start a new run with them: --init RUN."
    )


def _whole_lines(content: bytes, epochs: int, known: frozenset[int]) -> list[bytes]:
    """Return the lines of metrics.jsonl that are as they were written, for epochs up to `epochs` in ascending order.

    `known` has the CRC-32 of every line; if it is empty, a line is good that can be read.
    """
    lines, last = [], 0
    for line in content.splitlines(keepends=True):
        try:
            epoch = json.loads(line)["epoch"] if line.endswith(b"\n") else None
        except (ValueError, TypeError, KeyError):
            continue
        if type(epoch) is int and last < epoch <= epochs and (not known or zlib.crc32(line) in known):
            lines.append(line)
            last = epoch
    return lines
