"""Loaded data sets kept as plain arrays that the next start maps into memory: no parsing, no sorting, no copy.

A cached set is a folder with one `.npy` file an array and `manifest.json`, which says of which source files (size and time of
change), options and format version it is, and the checksums of all arrays. It is written under another name and renamed. A folder
that does not fit its sources is rebuilt, and so is one with a wrong checksum: indices from it reach kernels that trust them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from revgnn.data.dataset import NodeDataset, Split
from revgnn.graph import Graph

CACHE_VARIABLE = "REVGNN_CACHE"
FORMAT = 1
"""Raised whenever a reader or this layout changes what would be stored."""
MIN_BYTES = 16 << 20
"""Smaller sets are read as fast from their own files."""
_CHUNK = 64 << 20

_log = logging.getLogger("revgnn.data")

_FIELDS = ("name", "task", "num_outputs", "metric", "num_species", "task_names", "source", "licence")


class _Unfit(Exception):
    """The cached folder is not what is wanted; the message says why."""


def cache_folder() -> Path:
    """`$REVGNN_CACHE`, or `revgnn` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "revgnn"


def cached(
    read: Callable[[], NodeDataset], source: Path, files: Iterable[Path], options: Mapping[str, Any], *, root: Path | None = None
) -> NodeDataset:
    """What `read()` gives, from the cache where it is there and fits.

    Args:
        read: reads the data set from its own files.
        source: the data set's file or folder; with `options` it tells cached sets apart.
        files: what was read: a change of size or time of any of them makes the cached set stale.
        options: whatever else the result depends on; JSON values.
        root: in place of `cache_folder()`.

    A cache that cannot be written costs a warning, never the data set.
    """
    stamp = {"format": FORMAT, "source": str(source.resolve()), "options": dict(options), "files": _stamps(files)}
    key = hashlib.sha256(json.dumps([stamp["source"], stamp["options"]], sort_keys=True).encode()).hexdigest()[:16]
    folder = (root or cache_folder()) / f"{source.stem}-{key}"
    if folder.is_dir():
        try:
            return _open(folder, stamp)
        except _Unfit as reason:
            _log.warning("the cached %s is not used: %s; reading %s again", folder.name, reason, source)
    dataset = read()
    if sum(array.nbytes for array in _arrays_of(dataset).values()) >= MIN_BYTES:
        try:
            _write(dataset, folder, stamp)
        except OSError as error:
            _log.warning("%s could not be cached in %s: %s; $%s names another folder", dataset.name, folder, error, CACHE_VARIABLE)
    return dataset


def _stamps(files: Iterable[Path]) -> dict[str, list[int]]:
    stats = {str(path.resolve()): path.stat() for path in sorted(files)}
    return {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}


# --- writing ------------------------------------------------------------------------------------------------------------


def _arrays_of(dataset: NodeDataset) -> dict[str, np.ndarray]:
    graph = dataset.graph
    tensors = {"indptr": graph.indptr, "src": graph.src, "edge_attr": graph.edge_attr, "x": dataset.x, "species": dataset.species}
    tensors["y"] = dataset.y
    for number, split in enumerate(dataset.splits):
        tensors |= {f"train_{number}": split.train, f"valid_{number}": split.valid, f"test_{number}": split.test}
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items() if tensor is not None}


def _write(dataset: NodeDataset, folder: Path, stamp: dict[str, Any]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    arrays = _arrays_of(dataset)
    fields = {field: getattr(dataset, field) for field in _FIELDS}
    manifest = stamp | {"fields": fields, "num_splits": len(dataset.splits), "arrays": {}}
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, array in arrays.items():
            np.save(scratch / f"{name}.npy", array, allow_pickle=False)
            manifest["arrays"][name] = {"dtype": array.dtype.str, "shape": array.shape, "crc32": _checksums(array)}
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # A folder cannot replace one that is not empty. What another process has mapped stays readable to it.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _checksums(array: np.ndarray) -> list[int]:
    """CRC-32 of each 64 MiB, several at a time (zlib releases the interpreter lock)."""
    flat = array.reshape(-1).view(np.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(lambda start: zlib.crc32(flat[start : start + _CHUNK].data), range(0, flat.size, _CHUNK)))


# --- reading ------------------------------------------------------------------------------------------------------------


def _open(folder: Path, stamp: dict[str, Any]) -> NodeDataset:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise _Unfit(f"it has format {manifest['format']}, not {FORMAT}")
        if any(manifest[part] != stamp[part] for part in ("files", "options", "source")):
            raise _Unfit("the data have changed since")
        tensors = {name: _map(folder / f"{name}.npy", about) for name, about in manifest["arrays"].items()}
        fields = manifest["fields"]
        if fields["task_names"] is not None:
            fields["task_names"] = tuple(fields["task_names"])
        # The structure is checked like any other, so that a kernel can trust it; the features are what their checksums say.
        structure = Graph(tensors["indptr"], tensors["src"])
        graph = Graph(structure.indptr, structure.src, tensors.get("edge_attr"), validate=False)
        splits = tuple(
            Split(tensors[f"train_{s}"], tensors[f"valid_{s}"], tensors[f"test_{s}"]) for s in range(manifest["num_splits"])
        )
        return NodeDataset(**fields, graph=graph, x=tensors.get("x"), species=tensors.get("species"), y=tensors["y"], splits=splits)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:  # a damaged file or manifest
        raise _Unfit(f"it is damaged ({error})") from None


def _map(path: Path, about: dict[str, Any]) -> torch.Tensor:
    # Copy-on-write: torch takes no read-only memory, and what a caller writes must not reach the file. Pages that nobody
    # writes are the file's own.
    array = np.load(path, mmap_mode="c", allow_pickle=False) if 0 not in about["shape"] else np.load(path, allow_pickle=False)
    if array.dtype.str != about["dtype"] or list(array.shape) != list(about["shape"]):
        raise _Unfit(f"{path.name} is {array.dtype} of shape {array.shape}")
    if _checksums(array) != about["crc32"]:
        raise _Unfit(f"the checksum of {path.name} is wrong")
    return torch.from_numpy(array)
