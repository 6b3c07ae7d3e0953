"""Loaded data sets kept as plain arrays that the next start maps into memory: no parsing, no sorting, no copy.

A cached set is a folder with one `.npy` file an array and `manifest.json`, which says of which source files (size and time of
change), options and format version it is, and the checksums of all arrays. It is written under another name and renamed. A folder
that does not fit its sources is rebuilt, and so is one with a wrong checksum: indices from it reach kernels that trust them.

Checksums and indices are verified by reading every array once, a block at a time. Then `verified.json` says in which state (size,
times of change, inode) the files were, and as long as they are in it, opening the set reads nothing but headers and what belongs to
nodes: the graph may be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from revgnn.data.dataset import NodeDataset, Split
from revgnn.data.mapped import map_array
from revgnn.graph import Graph

CACHE_VARIABLE = "REVGNN_CACHE"
FORMAT = 2
"""Raised whenever a reader or this layout changes what would be stored."""
MIN_BYTES = 16 << 20
"""Smaller sets are read as fast from their own files."""
_CHUNK = 64 << 20
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago may change again within the same tick of its clock, and nobody would see it."""
_VERIFIED = "verified.json"

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
    graph, edge_attr = dataset.graph, dataset.graph.edge_attr
    if edge_attr is not None and edge_attr.dtype == torch.bfloat16:
        edge_attr = edge_attr.view(torch.int16)  # NumPy has no such type; the manifest says which it was
    tensors = {"indptr": graph.indptr, "src": graph.src, "edge_attr": edge_attr, "x": dataset.x, "species": dataset.species}
    tensors["y"] = dataset.y
    for number, split in enumerate(dataset.splits):
        tensors |= {f"train_{number}": split.train, f"valid_{number}": split.valid, f"test_{number}": split.test}
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items() if tensor is not None}


def _write(dataset: NodeDataset, folder: Path, stamp: dict[str, Any]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    arrays = _arrays_of(dataset)
    fields = {field: getattr(dataset, field) for field in _FIELDS}
    edge_attr = dataset.graph.edge_attr
    edges = {"scale": dataset.graph.edge_scale, "bfloat16": edge_attr is not None and edge_attr.dtype == torch.bfloat16}
    manifest = stamp | {"fields": fields, "num_splits": len(dataset.splits), "edges": edges, "arrays": {}}
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
        state = _state_of(folder, manifest["arrays"])
        verified = _was_verified(folder, state)
        tensors = {name: _map(folder / f"{name}.npy", about, verified) for name, about in manifest["arrays"].items()}
        fields = manifest["fields"]
        if fields["task_names"] is not None:
            fields["task_names"] = tuple(fields["task_names"])
        edge_attr = tensors.get("edge_attr")
        if edge_attr is not None and manifest["edges"]["bfloat16"]:
            edge_attr = edge_attr.view(torch.bfloat16)
        # The structure is checked like any other, so that a kernel can trust it; the features are what their checksums say.
        structure = Graph(tensors["indptr"], tensors["src"], validate=not verified)
        graph = Graph(structure.indptr, structure.src, edge_attr, edge_scale=float(manifest["edges"]["scale"]), validate=False)
        splits = tuple(
            Split(tensors[f"train_{s}"], tensors[f"valid_{s}"], tensors[f"test_{s}"]) for s in range(manifest["num_splits"])
        )
        dataset = NodeDataset(
            **fields, graph=graph, x=tensors.get("x"), species=tensors.get("species"), y=tensors["y"], splits=splits
        )
        if not verified:
            _remember_verified(folder, state)
        return dataset
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:  # a damaged file or manifest
        raise _Unfit(f"it is damaged ({error})") from None


def _map(path: Path, about: dict[str, Any], verified: bool) -> torch.Tensor:
    array = map_array(path)
    if array.dtype.str != about["dtype"] or list(array.shape) != list(about["shape"]):
        raise _Unfit(f"{path.name} is {array.dtype} of shape {array.shape}")
    if not verified and _checksums(array) != about["crc32"]:
        raise _Unfit(f"the checksum of {path.name} is wrong")
    return torch.from_numpy(array)


# --- verified once ------------------------------------------------------------------------------------------------------


def _state_of(folder: Path, arrays: Iterable[str]) -> dict[str, list[int]]:
    """What changes with the contents of a file: its size, the times of change of contents and inode, the inode."""
    stats = {name: (folder / name).stat() for name in ("manifest.json", *(f"{array}.npy" for array in arrays))}
    return {name: [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] for name, stat in stats.items()}


def _was_verified(folder: Path, state: dict[str, list[int]]) -> bool:
    try:
        return json.loads((folder / _VERIFIED).read_text(encoding="utf-8")) == state
    except (OSError, ValueError):  # never verified, or the note is damaged: verify
        return False


def _remember_verified(folder: Path, state: dict[str, list[int]]) -> None:
    if time.time_ns() - max(max(mtime, ctime) for _, mtime, ctime, _ in state.values()) < _SETTLED_NS:
        return
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=f".{_VERIFIED}.", delete=False, encoding="utf-8") as note:
            json.dump(state, note)
        os.replace(note.name, folder / _VERIFIED)
    except OSError as error:
        _log.debug("%s: %s; the set will be verified again", folder, error)
