"""What is measured for a report on request: scores in several views and parts, memory of a step by depth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from revgnn.experiments.run_files.evaluations import Scores, key_of, read_evaluations, write_evaluations
from revgnn.experiments.run_files.reading import RunOnDisk
from revgnn.files import write_json

_MEMORY = "step-memory.json"


class _Wishes(Protocol):
    """The part of `Wishes` that is needed here."""

    @property
    def views(self) -> Sequence[tuple[int, int]]: ...
    @property
    def root(self) -> Path | None: ...
    @property
    def data(self) -> Path | None: ...
    @property
    def node_features(self) -> Path | None: ...
    @property
    def device(self) -> str | None: ...


def measure_views(run: RunOnDisk, wishes: _Wishes) -> Scores:
    """Return scores in the views and parts that are wished for: those that are saved, or else computed, and then saved.

    Raises:
        ValueError, OSError: if the weights or the data cannot be used.
    """
    wanted = {key_of(views, parts) for views, parts in wishes.views}
    known = read_evaluations(run.path)
    if wanted <= known.keys():
        return {key: known[key] for key in wanted}
    from revgnn.train.inference.evaluate import evaluate_run
    from revgnn.train.inference.saved_run import LoadOptions

    for views, parts in sorted(wanted - known.keys()):
        options = LoadOptions(views, parts, wishes.data, root=wishes.root, node_features=wishes.node_features, device=wishes.device)
        scores = evaluate_run(run.path, options)
        known[views, parts] = {part: scores[part] for part in ("train", "valid", "test")}
        write_evaluations(run.path, known)
    return {key: known[key] for key in wanted}


def measure_memory(run: RunOnDisk, *, measure: bool, root: Path | None, data: Path | None) -> list[tuple[int, str, int]]:
    """Return depth, gradient strategy and peak bytes of single training steps: those that are saved, or else measured if asked for.

    Raises:
        ValueError, OSError: if the data cannot be used, or the network has no layers to store.
    """
    if run.config is None:
        return []
    file, digest = run.path / _MEMORY, run.config.digest
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        peaks = [(int(p["depth"]), str(p["gradient"]), int(p["peak_bytes"])) for p in saved["peaks"]]
        if saved["config"] == digest:
            return peaks
    except (OSError, ValueError, LookupError, TypeError):
        pass
    if not measure:
        return []
    from revgnn.train.run.footprint import step_peaks

    peaks = step_peaks(run.config.with_data_at(data, root))
    write_json(file, {"config": digest, "peaks": [asdict(peak) for peak in peaks]})
    return [(peak.depth, peak.gradient, peak.peak_bytes) for peak in peaks]
