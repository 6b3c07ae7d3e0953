"""`Run`: a trained network with everything that belongs to it, and `load`, which opens one from its folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from revgnn._words import speaks_python
from revgnn.api.other_graph import other_graph
from revgnn.api.place import arrays_of, naming, place
from revgnn.data import NodeDataset
from revgnn.data import load as load_data
from revgnn.experiments.auto.choice import Choice
from revgnn.files import replacing_folder
from revgnn.models import AbstractModel
from revgnn.train.config import RunConfig
from revgnn.train.inference.answers import Answers
from revgnn.train.inference.saved_run import LoadOptions, SavedRun, load_run
from revgnn.train.metrics import score_splits
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.inputs import Inputs
from revgnn.train.run.session import choose_device, prepare
from revgnn.train.task import num_labelled, probabilities


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
        """The classes by name, or else by number, in the order of `predict_proba`; of several labels their names."""
        return np.asarray(list(self._answers(self._own.dataset, None).classes()))

    # --- using it -----------------------------------------------------------------------------------------------------

    @speaks_python()
    def predict(self, data: Any = None) -> np.ndarray:
        """Return the most probable class of each node, (N,); of several labels bool (N, T).

        Args:
            data: another graph; None: the run's own.

        Raises:
            ValueError, TypeError: if the data do not fit.
        """
        dataset, logits = self._logits(data)
        answers = self._answers(dataset, logits)
        predicted = answers.predicted()
        return predicted if dataset.task == "multilabel" else np.asarray(list(answers.classes()))[predicted]

    @speaks_python()
    def predict_proba(self, data: Any = None) -> np.ndarray:
        """Return probabilities, float32 (N, classes) in the order of `classes_`; of several labels (N, T), each of yes.

        Arguments as in `predict`.
        """
        dataset, logits = self._logits(data)
        values = probabilities(dataset.task, logits).numpy()
        return np.concatenate([1 - values, values], axis=1) if dataset.task == "binary" else values

    @speaks_python()
    def evaluate(self, data: Any = None) -> dict[str, Any]:
        """Return the scores `train`, `valid` and `test`, and the `metric`.

        Args:
            data: another graph with labels; None: the run's own. Without a split, all its labelled nodes are test nodes.
        """
        dataset, logits = self._logits(data)
        if num_labelled(dataset.task, dataset.y) == 0:
            raise ValueError("these data have no labels to compare with; predict needs none.")
        return {"metric": dataset.metric, **score_splits(dataset, logits).as_dict()}

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

    def _logits(self, data: Any) -> tuple[NodeDataset, Tensor]:
        """Return the data set, and the logits of its nodes: float32 (N, outputs)."""
        if data is None:
            return self._own.dataset, self._own.logits()
        saved = self._on_tables(data) if self._tables is not None else self._on_graph(data)
        return saved.dataset, saved.logits()

    def _on_tables(self, data: Any) -> SavedRun:
        with tempfile.TemporaryDirectory(prefix="revgnn-") as folder, naming(Path(folder)):
            return load_run(self.folder, LoadOptions(data=place(data, Path(folder)), device=self._device))

    def _on_graph(self, data: Any) -> SavedRun:
        inputs = self._inputs()
        if isinstance(data, str | Path):
            root = None if self.config.data is None else self.config.data.root
            data = load_data(str(data), root)
        dataset = other_graph(arrays_of(data), inputs, self.config)
        config = self.config.replace({"distillation": None, "init": None})
        with own_random_numbers(choose_device(config.device)):
            session = prepare(config, dataset)
        note = RunFolder(self.folder).restore_best(session, other_data=True)
        return SavedRun(self.folder, session, epoch=note["epoch"], is_new_graph=True)

    def _inputs(self) -> Inputs:
        """Return what the network takes; of runs of earlier versions, from their own data."""
        if "inputs" in self._note:
            return Inputs.from_dict(self._note["inputs"], str(self.folder))
        return Inputs.of(self._own.dataset)

    def _answers(self, dataset: NodeDataset, logits: Tensor | None) -> Answers:
        values = {} if logits is None else {"probabilities": probabilities(dataset.task, logits).numpy()}
        return Answers(dataset, values, np.full(dataset.num_nodes, ""))


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
