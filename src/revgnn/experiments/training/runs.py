"""The finished runs of one network: their results, and their scores in several views.

Everything is read from the folders of the runs, so it does not matter which command trained them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from revgnn.experiments.run_files.evaluations import key_of, read_evaluations, write_evaluations
from revgnn.train.config import RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.saved_run import LoadOptions
from revgnn.train.run.folder import RunFolder
from revgnn.train.sweeps import finished_result


def finished_runs(runs: Sequence[tuple[RunConfig, Path]]) -> list[dict[str, Any]] | None:
    """Return the results of all seeds, each with its `folder` and `environment`.

    None if a run is missing, unfinished, or of another configuration.
    """
    results = []
    for config, path in runs:
        result = finished_result(config, path)
        folder = RunFolder(path)
        if result is None or folder.config().differences(config):
            return None
        environment = json.loads(folder.environment_file.read_text(encoding="utf-8"))
        results.append({"folder": f"{path.parent.name}/{path.name}", **result, "environment": environment})
    return results


def evaluate_views(path: Path, run: RunConfig, views: int, parts: int) -> dict[str, Any]:
    """Return the scores of the best weights of a finished run, averaged over `views` partitions into `parts` parts.

    They are computed once and saved in the folder of the run. One part is the whole graph, which has one view.
    """
    known = read_evaluations(path)
    key = key_of(views, parts)
    if key not in known:
        root = None if run.data is None else run.data.root
        options = LoadOptions(views=key[0], parts=parts, root=root, device=run.device)
        scores = evaluate_run(path, options)
        known[key] = {name: scores[name] for name in ("train", "valid", "test")}
        write_evaluations(path, known)
    return known[key]


def evaluated_views(path: Path, views: int, parts: int) -> dict[str, Any] | None:
    """Return the scores that `evaluate_views` has saved, or None."""
    return read_evaluations(path).get(key_of(views, parts))
