"""`Run`: a trained network with everything that belongs to it, and `load`, which opens one from its folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from revgnn._words import speaks_python
from revgnn.api.other_graph import other_graph
from revgnn.api.place import arrays_of, naming, place
from revgnn.data import load as load_data
from revgnn.experiments.auto.choice import Choice
from revgnn.files import replacing_folder
from revgnn.models import AbstractModel
from revgnn.train.config import RunConfig
from revgnn.train.inference.answers import Answers
from revgnn.train.inference.saved_run import LoadOptions, SavedRun, load_run, thresholds_of
from revgnn.train.metrics import score_splits
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.inputs import Inputs
from revgnn.train.run.session import choose_device, prepare


class Run:
    """A trained network, with the transforms of its inputs and the names of its outputs. `fit` and `load` return one.

    Predictions are those of the weights with the best validation score. Methods take the same kinds of data as `fit`; without data
    they use those of the run. Another graph needs the same features, and no labels.

    Attributes:
        folder: where its files are. Of `fit` without `out` a temporary folder, which is removed with the last reference to the run.
        config: the configuration.
        choice: what preset auto chose and why; None if it did not, or if the run was loaded (then see `config.notes`).
    """

    @speaks_python()
    def __init__(
        self,
        folder: Path | str,
        *,
        device: str | None = None,
        choice: Choice | None = None,
        temporary: Path | None = None,
    ) -> None:
        """Open the folder of a run.

        Args:
            folder: of a run that has been evaluated once.
            device: "auto", "cpu" or "cuda"; None: as in training.
            temporary: a folder to be removed with the run.

        Raises:
            ValueError: if it is not the folder of a run, or holds no weights.
        """
        self.folder = Path(folder)
        self.choice = choice
        if temporary is not None:  # when nothing refers to this run any more, or when Python ends
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        self._device = device
        files = RunFolder(self.folder)
        config = files.config()
        self.config: RunConfig = config if device is None else config.replace({"device": device})
        if not files.best_file.is_file():
            raise ValueError(f"the run in {folder} has no weights yet: its first evaluation has not ended; train it on.")
        self._note = files.best_scores()
        self._tables = files.tables()

    def __repr__(self) -> str:
        model = self.config.model
        return f"Run({model.family}, {model.depth} layers of {model.channels} channels; valid {self._note.get('valid')})"

    # --- what is known of the run -------------------------------------------------------------------------------------

    @property
    def history(self) -> list[dict[str, Any]]:
        """One dictionary an epoch: loss, scores, seconds."""
        return RunFolder(self.folder).metrics()

    @property
    def result(self) -> dict[str, Any] | None:
        """Scores and costs of the finished run; None if training has not ended."""
        return RunFolder(self.folder).result()

    @cached_property
    def model(self) -> AbstractModel:
        """The network with its best weights, in evaluation mode: `run.model(graph, x)` returns logits."""
        return self._own.session.model.eval()

    @property
    def classes_(self) -> np.ndarray:
        """The classes by name, or else by number, in the order of `predict_proba`; of several labels or numbers their names."""
        return np.asarray(list(_answers(self._own, {}).names()))

    # --- using it -----------------------------------------------------------------------------------------------------

    @speaks_python()
    def predict(self, data: Any = None) -> np.ndarray:
        """Return the most probable class of each of N nodes, (N,); of several labels bool (N, T); of numbers (N,) or (N, T).

        Rows are those of nodes, or of graphs or pairs if these have the labels. F1 scores come with thresholds of probabilities,
        which are used here.

        Args:
            data: another graph; None: the run's own.

        Raises:
            ValueError, TypeError: if the data do not fit.
        """
        saved = self._saved(data)
        task = saved.dataset.objective
        answers = _answers(saved, {"values": task.values(saved.logits()).numpy()})
        columns = task.columns(answers.values, answers.names(), answers.thresholds)
        if "predicted" in columns:
            return np.asarray(columns["predicted"].to_pylist())
        predicted = np.stack([np.asarray(columns[f"predicted_{name}"]) for name in answers.names()], axis=1)
        return predicted[:, 0] if task.name == "regression" and task.num_outputs == 1 else predicted

    @speaks_python()
    def predict_proba(self, data: Any = None) -> np.ndarray:
        """Return probabilities, float32 (N, classes) in the order of `classes_`; of several labels (N, T), each of yes.

        Arguments as in `predict`.

        Raises:
            ValueError: if the run predicts numbers.
        """
        saved = self._saved(data)
        task = saved.dataset.objective
        if task.value_name != "probabilities":
            raise ValueError(f"a {task.name} has no probabilities; predict returns its numbers.")
        values = task.values(saved.logits()).numpy()
        return np.concatenate([1 - values, values], axis=1) if task.name == "binary" else values

    @speaks_python()
    def evaluate(self, data: Any = None) -> dict[str, Any]:
        """Return the scores `train`, `valid` and `test`, and the `metric`.

        Args:
            data: another graph with labels; None: the run's own. Without a split, all its labelled nodes are test nodes.
        """
        saved = self._saved(data)
        dataset = saved.dataset
        if dataset.objective.num_labelled(dataset.y) == 0:
            raise ValueError("these data have no labels to compare with; predict needs none.")
        return {"metric": dataset.metric, **score_splits(dataset, saved.logits(), saved.thresholds).as_dict()}

    @speaks_python()
    def save(self, folder: Path | str) -> Path:
        """Copy the files of the run into a new folder, which `load` and the command line open, and return its path.

        Raises:
            FileExistsError: if there is something already.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists; choose another folder.")
        with replacing_folder(folder.absolute()) as temporary:
            shutil.copytree(self.folder, temporary, dirs_exist_ok=True)
        return folder

    # --- how ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _own(self) -> SavedRun:
        """The run on its own data."""
        return load_run(self.folder, LoadOptions(device=self._device))

    def _saved(self, data: Any) -> SavedRun:
        """Return the run on other data; None: on its own."""
        if data is None:
            return self._own
        return self._on_tables(data) if self._tables is not None else self._on_graph(data)

    def _on_tables(self, data: Any) -> SavedRun:
        with tempfile.TemporaryDirectory(prefix="revgnn-") as folder, naming(Path(folder)):
            return load_run(self.folder, LoadOptions(data=place(data, Path(folder)), device=self._device))

    def _on_graph(self, data: Any) -> SavedRun:
        inputs = self._inputs()
        if inputs.row != "node":
            raise ValueError(
                f"this run predicts {inputs.row}s, and was not trained on tables: it predicts those of its own data alone. Others "
                "can be given to a run that was trained on tables."
            )
        if isinstance(data, str | Path):
            root = None if self.config.data is None else self.config.data.root
            data = load_data(str(data), root)
        dataset = other_graph(arrays_of(data), inputs, self.config)
        config = self.config.replace({"distillation": None, "init": None})
        with own_random_numbers(choose_device(config.device)):
            session = prepare(config, dataset)
        note = RunFolder(self.folder).restore_best(session, other_data=True)
        thresholds = thresholds_of(note, RunFolder(self.folder).best_file, inputs.num_outputs)
        return SavedRun(self.folder, session, epoch=note["epoch"], is_new_graph=True, thresholds=thresholds)

    def _inputs(self) -> Inputs:
        """Return what the network takes; of runs of earlier versions, from their own data."""
        if "inputs" in self._note:
            return Inputs.from_dict(self._note["inputs"], str(self.folder))
        return Inputs.of(self._own.dataset)


def _answers(saved: SavedRun, values: Mapping[str, np.ndarray]) -> Answers:
    return Answers(saved.dataset, values, np.full(saved.dataset.num_rows, ""), saved.thresholds)


@speaks_python()
def load(path: Path | str, *, device: str | None = None) -> Run:
    """Open a trained run, of `fit` or of `revgnn train`: a ready network with the transforms of its inputs.

    The data that it was trained on are read only when they are used.

    Args:
        path: the run's folder.
        device: "auto", "cpu" or "cuda"; None: as in training.

    Raises:
        ValueError: if it is not the folder of a run, or holds no weights.
    """
    return Run(path, device=device)
