"""`fit`: train on a graph, with one call."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from revgnn._words import speaks_python
from revgnn.api.place import naming, place
from revgnn.api.progress import ProgressBar
from revgnn.api.run import Run
from revgnn.experiments.auto.choice import Choice
from revgnn.experiments.auto.for_run import choice_for
from revgnn.experiments.compose import AUTO, compose
from revgnn.files import write_text
from revgnn.train.config import RunConfig
from revgnn.train.run.events import Hook
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.loop import train

KEPT = "data"
"""Folder inside `out` with data that were in memory."""


@speaks_python()
def fit(
    data: Any,
    *,
    task: str | None = None,
    preset: str | RunConfig | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: Iterable[Hook] = (),
    progress: bool = False,
    out: Path | str | None = None,
    init: Path | str | Run | None = None,
) -> Run:
    """Train a network and return it, with its best weights.

    ```python
    run = revgnn.fit(data, settings={"epochs": 50})
    run.predict(data), run.evaluate()
    ```

    Args:
        data: a PyTorch Geometric `Data` (`x`, `edge_index`, `edge_attr`, `y`, `train_mask`, `val_mask`, `test_mask`); a mapping
            `{"graph": Graph or edge_index, "x": ..., "y": ..., "train": ..., "valid": ..., "test": ...}` of tensors or arrays,
            parts as masks or numbers, and `graph_of_node` if labels are those of many small graphs; a list or `Dataset` of
            `Data`, each with a label of its own; tables `{"nodes": frame, "edges": frame}` of pandas, polars or pyarrow; a
            `NodeDataset`; or a path or name, as in `revgnn train`. Without a split, one is drawn: 60/20/20.
        task: "multiclass", "binary", "multilabel" or "regression"; "links" for the edges of the graph; "edges" for labels in the
            table of edges; None: by the labels.
        preset: the name of a preset, or a configuration; None: the one named like the data set, else "auto", which looks at the
            graph.
        settings: values by dotted key of `RunConfig`, such as `{"epochs": 50, "seed": 1, "model.depth": 28, "device": "cpu"}`.
            They win over the preset.
        callbacks: functions that are called with each event (`revgnn.train.run.events`). An exception they raise ends the training.
        progress: print what preset auto chose, and draw a progress bar.
        out: folder to keep the run in. None: nothing is kept but the `Run`; its files, and data in memory, are in a temporary
            folder, which is removed with it.
        init: a run, or its folder, whose best weights training starts from. The head is made anew if the outputs differ.

    Raises:
        ValueError, TypeError: if data or settings cannot be used; one line that says what to do.
        OSError: if a file cannot be read or written.
        Diverged: if the loss is not finite; try a smaller `optim.lr`.
    """
    temporary = Path(tempfile.mkdtemp(prefix="revgnn-"))
    try:
        place_of_data = temporary / KEPT
        place_of_data.mkdir()
        name = place(data, place_of_data, needs_labels=task != "links")
        in_memory = name.startswith(str(place_of_data))
        changes = dict(settings or {})
        if task is not None:
            changes["data.task"] = task
        if init is not None:
            changes["init"] = str(init.folder if isinstance(init, Run) else init)
        folder = temporary / "run" if out is None else Path(out)
        with naming(place_of_data):
            config, choice = compose_run(name, preset, changes)
            _train(config, choice, folder, callbacks, progress=progress)
        if out is None:
            return Run(folder, choice=choice, temporary=temporary)
        if in_memory:
            _keep_data(place_of_data, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(temporary, ignore_errors=True)
    return Run(folder, choice=choice)


def _train(config: RunConfig, choice: Choice | None, folder: Path, callbacks: Iterable[Hook], *, progress: bool) -> None:
    if not progress:
        train(config, folder, hooks=callbacks)
        return
    with ProgressBar() as bar:
        if choice is not None:
            bar.console.print("\n".join(choice.lines()), highlight=False, markup=False)
        train(config, folder, hooks=[*callbacks, bar])


def compose_run(name: str, preset: str | RunConfig | None, changes: Mapping[str, Any]) -> tuple[RunConfig, Choice | None]:
    """Return the configuration, and what preset auto chose, if it did."""
    run_of = partial(compose, name)
    config = run_of(preset=preset)
    if isinstance(preset, RunConfig):
        if preset.data is not None and config.data is not None:  # with its options
            config = config.replace({"data": preset.data.model_copy(update={"name": config.data.name}).model_dump(mode="json")})
        return config.replace(changes), None
    config = config.replace(changes)
    if config.preset != AUTO:
        return config, None
    choice = choice_for(config)
    return run_of(preset=choice.for_data(config.data)).replace(changes), choice


def _keep_data(source: Path, folder: Path) -> None:
    """Move data that were in memory into the run's folder, whose configuration then names them there."""
    kept = folder / KEPT
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(source, kept)
    files = RunFolder(folder)
    config = files.config()
    assert config.data is not None
    name = str(kept.absolute() / Path(config.data.name).relative_to(source))
    write_text(files.config_file, config.replace({"data.name": name}).to_yaml())
