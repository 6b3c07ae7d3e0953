"""What the raw files of an OGB set do not say: its tasks, score, default split and download address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from revgnn.data.dataset import Metric, Task
from revgnn.data.readers.torch_file import read_torch_dict


class OGBMeta(NamedTuple):
    """The entries of OGB's `meta_dict` that a reader needs."""

    num_tasks: int
    num_classes: int
    task_type: str
    eval_metric: str
    split: str
    add_inverse_edge: bool
    binary: bool
    is_hetero: bool = False
    download_name: str = ""
    url: str = ""


_URL = "http://snap.stanford.edu/ogb/data/nodeproppred"
OFFICIAL: dict[str, OGBMeta] = {
    "ogbn-proteins": OGBMeta(
        112, 2, "binary classification", "rocauc", "species", True, False, False, "proteins", f"{_URL}/proteins.zip"
    ),
    "ogbn-products": OGBMeta(
        1, 47, "multiclass classification", "acc", "sales_ranking", True, False, False, "products", f"{_URL}/products.zip"
    ),
    "ogbn-arxiv": OGBMeta(1, 40, "multiclass classification", "acc", "time", False, False, False, "arxiv", f"{_URL}/arxiv.zip"),
}
"""The sets of the paper, whose folders have no meta_dict.json."""


def meta_file(folder: Path) -> Path | None:
    """Return `meta_dict.json` or `meta_dict.pt` in the folder, or `meta_dict.pt` beside it, or None.

    OGB's `DatasetSaver` writes `meta_dict.pt` beside the folder of the set.
    """
    candidates = (folder / "meta_dict.json", folder / "meta_dict.pt", folder.resolve().parent / "meta_dict.pt")
    return next((path for path in candidates if path.is_file()), None)


def read_meta(folder: Path, name: str) -> OGBMeta:
    """Return the contents of the `meta_file`, or those known for the official sets.

    Raises:
        ValueError: if the file is missing and the set is not an official one, or if the file is damaged or lacks an entry.
    """
    path = meta_file(folder)
    if path is None or (name in OFFICIAL and path.parent != folder):
        if name in OFFICIAL:
            return OFFICIAL[name]
        raise ValueError(
            f"{folder} has no meta_dict.json (or meta_dict.pt, in the folder or beside it); all sets except {', '.join(OFFICIAL)} "
            "need one that says what their files mean."
        )
    try:
        stored: dict[str, Any] = _read_dict(path)
        described, wanted = Path(str(stored.get("dir_path", ""))).name, folder.resolve().name
        if path.parent != folder and described not in ("", wanted):
            raise ValueError(f"it describes the folder {described!r}, not {wanted!r}; put it into the folder it describes")
        return OGBMeta(
            num_tasks=int(stored["num tasks"]),
            num_classes=int(stored["num classes"]),
            task_type=str(stored["task type"]),
            eval_metric=str(stored["eval metric"]),
            split=str(stored["split"]),
            add_inverse_edge=_boolean(stored, "add_inverse_edge"),
            binary=_boolean(stored, "binary"),
            is_hetero="is hetero" in stored and _boolean(stored, "is hetero"),
        )
    except KeyError as error:
        raise ValueError(f"{path} has no entry {error}; it must have the entries of OGB's meta_dict.") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _read_dict(path: Path) -> dict[str, Any]:
    if path.suffix == ".pt":
        return read_torch_dict(path, "OGB's meta_dict")
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(stored, dict):
        raise ValueError(f"it must hold an object, got {type(stored).__name__}")
    return stored


def _boolean(stored: dict[str, Any], entry: str) -> bool:
    """Return an entry that is stored as a boolean, as 0 or 1, or as a word, which OGB does."""
    word = str(stored[entry]).strip().casefold()
    if word in ("true", "1", "yes"):
        return True
    if word in ("false", "0", "no"):
        return False
    raise ValueError(f"{entry!r} must be true or false, got {str(stored[entry])[:50]!r}")


def task_and_metric(meta: OGBMeta, name: str) -> tuple[Task, Metric]:
    """Return the task and metric in the terms of `NodeDataset`.

    Raises:
        ValueError: if the set is not node classification on one graph, scored by a known metric.
    """
    metric = {"rocauc": "rocauc", "acc": "accuracy", "F1": "f1", "f1": "f1"}.get(meta.eval_metric)
    task = {
        ("binary classification", True): "binary",
        ("binary classification", False): "multilabel",
        ("multiclass classification", True): "multiclass",
    }.get((meta.task_type, meta.num_tasks == 1))
    if task is None or metric is None or meta.is_hetero:
        raise ValueError(
            f"{name}: {'a heterogeneous graph, ' if meta.is_hetero else ''}{meta.num_tasks} task(s) of {meta.task_type!r} scored "
            f"by {meta.eval_metric!r} cannot be trained on; supported is node classification of one graph by rocauc, acc or F1."
        )
    return task, metric  # type: ignore[return-value] - both are values of the literal types
