"""A cache of loaded data sets: plain arrays, which the next start maps into memory without parsing, sorting or copying.

A cached set is a folder with one `.npy` file for each array and a `manifest.json`: the source files (size and time of change),
the options, the format version, and the checksums of all arrays and of the manifest itself. The folder is written in one step. It
is rebuilt if the sources or options have changed or a checksum is wrong, because kernels rely on its indices.

To verify a set, every array is read once, a block at a time: checksums and indices. Then `verified.json` records the state of
the files (size, times of change, inode). While the files keep that state, opening the set reads only headers and the arrays of
nodes, so that the graph may be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from revgnn.data.dataset import NodeDataset, Split
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.mapped import map_array
from revgnn.data.pairs import Pairs
from revgnn.files import replacing_folder, write_text
from revgnn.graph import Graph

CACHE_VARIABLE = "REVGNN_CACHE"
FORMAT = 4
"""Version of the format; to be raised when a reader or this layout changes what would be stored."""
MIN_BYTES = 16 << 20
"""Smaller sets are not cached: reading their own files is as fast."""
_CHUNK = 64 << 20
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago may change again within the same tick of its clock, which its times would not show."""
_VERIFIED = "verified.json"

_log = logging.getLogger("revgnn.data")

_FIELDS = ("name", "task", "num_outputs", "metric", "num_species", "task_names", "source", "licence")


class _UnusableCache(Exception):
    """Raised if a cached folder is damaged or was made from something else; the message gives the reason."""


def cache_folder() -> Path:
    """Return `$REVGNN_CACHE`, or `revgnn` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "revgnn"


def cached(
    read: Callable[[], NodeDataset],
    source: Path,
    files: Iterable[Path],
    options: Mapping[str, Any],
    *,
    root: Path | None = None,
    split: int = 0,
) -> NodeDataset:
    """Return the result of `read()`, from the cache if it is there and still valid.

    A cache that cannot be written leads to a warning; the data set is returned all the same.

    Args:
        read: reads the data set from its own files.
        source: the data set's file or folder. Together with `options` it identifies a cached set.
        files: the files that `read` reads. If the size or time of change of any of them differs, the set is read again.
        options: everything else that the result depends on, as JSON values.
        root: folder of the cache, instead of `cache_folder()`.
        split: number of the split in use; `read` uses the same.
    """
    origin = {"format": FORMAT, "source": str(source.resolve()), "options": dict(options), "files": _file_states(files)}
    key = hashlib.sha256(json.dumps([origin["source"], origin["options"]], sort_keys=True).encode()).hexdigest()[:16]
    try:
        folder = (root or cache_folder()) / f"{source.stem}-{key}"
    except RuntimeError as error:  # the user has no home folder
        _log.warning("%s is not cached: %s; $%s names a folder for the cache", source, error, CACHE_VARIABLE)
        return read()
    if folder.is_dir():
        try:
            return _open(folder, origin, split)
        except _UnusableCache as reason:
            _log.warning("the cached %s is not used: %s; reading %s again", folder.name, reason, source)
    dataset = read()
    if sum(array.nbytes for array in _arrays_of(dataset).values()) >= MIN_BYTES:
        try:
            _write(dataset, folder, origin)
        except OSError as error:
            _log.warning("%s could not be cached in %s: %s; $%s names another folder", dataset.name, folder, error, CACHE_VARIABLE)
    return dataset


def _file_states(files: Iterable[Path]) -> dict[str, list[int]]:
    """Return size and time of change of each file."""
    stats = {str(path.resolve()): path.stat() for path in sorted(files)}
    return {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}


# --- writing ------------------------------------------------------------------------------------------------------------


def _arrays_of(dataset: NodeDataset) -> dict[str, np.ndarray]:
    graph, edge_attr = dataset.graph, dataset.graph.edge_attr
    if edge_attr is not None and edge_attr.dtype == torch.bfloat16:
        edge_attr = edge_attr.view(torch.int16)  # NumPy has no bfloat16; the manifest records it
    tensors = {"indptr": graph.indptr, "src": graph.src, "edge_attr": edge_attr, "x": dataset.x, "species": dataset.species}
    tensors |= {"y": dataset.y, "graph_of_node": None if dataset.graphs is None else dataset.graphs.graph_of_node}
    tensors |= {"pairs": None if dataset.pairs is None else dataset.pairs.ends}
    for number, split in enumerate(dataset.splits):
        tensors |= {f"train_{number}": split.train, f"valid_{number}": split.valid, f"test_{number}": split.test}
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items() if tensor is not None}


def _write(dataset: NodeDataset, folder: Path, origin: dict[str, Any]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    edge_attr = dataset.graph.edge_attr
    edges = {"scale": dataset.graph.edge_scale, "bfloat16": edge_attr is not None and edge_attr.dtype == torch.bfloat16}
    fields = {field: getattr(dataset, field) for field in _FIELDS}
    manifest = origin | {"fields": fields, "num_splits": len(dataset.splits), "edges": edges, "arrays": {}}
    if not dataset.trainable:
        manifest["trainable"] = False
    with replacing_folder(folder) as temporary:
        for name, array in _arrays_of(dataset).items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
            manifest["arrays"][name] = {"dtype": array.dtype.str, "shape": array.shape, "crc32": _checksums(array)}
        (temporary / "manifest.json").write_text(json.dumps(sealed(manifest), indent=1), encoding="utf-8")


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with its own checksum, as JSON reads it back."""
    plain = json.loads(json.dumps({key: value for key, value in manifest.items() if key != "crc32"}))
    return plain | {"crc32": zlib.crc32(json.dumps(plain, sort_keys=True).encode())}


def _checksums(array: np.ndarray) -> list[int]:
    """Return the CRC-32 of each 64 MiB, several at a time (zlib releases the interpreter lock)."""
    flat = array.reshape(-1).view(np.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(lambda start: zlib.crc32(flat[start : start + _CHUNK].data), range(0, flat.size, _CHUNK)))


# --- reading ------------------------------------------------------------------------------------------------------------


def _open(folder: Path, origin: dict[str, Any], split: int) -> NodeDataset:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise _UnusableCache(f"it has format {manifest['format']}, not {FORMAT}")
        if sealed(manifest) != manifest:
            raise _UnusableCache("the checksum of its manifest is wrong")
        if any(manifest[part] != origin[part] for part in ("files", "options", "source")):
            raise _UnusableCache("the data have changed since")
        state = _verified_state(folder, manifest["arrays"])
        verified = _is_verified(folder, state)
        tensors = {name: _map_tensor(folder / f"{name}.npy", about, verified) for name, about in manifest["arrays"].items()}
        dataset = _make_dataset(manifest, tensors, split, validate=not verified)
        if not verified:
            _record_verified(folder, state)
        return dataset
    except _UnusableCache:
        raise
    except Exception as error:  # a damaged file or manifest can cause any
        raise _UnusableCache(f"it is damaged ({type(error).__name__}: {str(error)[:200]})") from None


def _make_dataset(manifest: dict[str, Any], tensors: dict[str, torch.Tensor], split: int, *, validate: bool) -> NodeDataset:
    fields = manifest["fields"]
    if fields["task_names"] is not None:
        fields["task_names"] = tuple(fields["task_names"])
    edge_attr = tensors.get("edge_attr")
    if edge_attr is not None and manifest["edges"]["bfloat16"]:
        edge_attr = edge_attr.view(torch.bfloat16)
    if edge_attr is not None and (edge_attr.dim() != 2 or edge_attr.shape[0] != len(tensors["src"])):
        raise _UnusableCache(f"edge_attr has shape {tuple(edge_attr.shape)} for {len(tensors['src'])} edges")
    if edge_attr is not None and not (edge_attr.is_floating_point() or edge_attr.dtype == torch.int16):
        raise _UnusableCache(f"edge_attr is {edge_attr.dtype}")
    # The indices are checked like those of any graph, because kernels rely on them. For the features the checksums are enough.
    structure = Graph(tensors["indptr"], tensors["src"], validate=validate)
    graph = Graph(structure.indptr, structure.src, edge_attr, edge_scale=float(manifest["edges"]["scale"]), validate=False)
    splits = tuple(Split(tensors[f"train_{s}"], tensors[f"valid_{s}"], tensors[f"test_{s}"]) for s in range(manifest["num_splits"]))
    owner, ends = tensors.get("graph_of_node"), tensors.get("pairs")
    return NodeDataset(
        **fields,
        graph=graph,
        x=tensors.get("x"),
        species=tensors.get("species"),
        y=tensors["y"],
        splits=splits,
        split_index=split,
        graphs=None if owner is None else ManyGraphs(owner),
        pairs=None if ends is None else Pairs(ends),
        trainable=bool(manifest.get("trainable", True)),
    )


def _map_tensor(path: Path, about: dict[str, Any], verified: bool) -> torch.Tensor:
    array = map_array(path)
    if array.dtype.str != about["dtype"] or list(array.shape) != list(about["shape"]):
        raise _UnusableCache(f"{path.name} is {array.dtype} of shape {array.shape}")
    if not verified and _checksums(array) != about["crc32"]:
        raise _UnusableCache(f"the checksum of {path.name} is wrong")
    return torch.from_numpy(array)


# --- the record of a verified set ---------------------------------------------------------------------------------------


def _verified_state(folder: Path, arrays: Iterable[str]) -> dict[str, list[int]]:
    """Return for each file what changes with its contents: size, times of change of contents and inode, inode."""
    stats = {name: (folder / name).stat() for name in ("manifest.json", *(f"{array}.npy" for array in arrays))}
    return {name: [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] for name, stat in stats.items()}


def _is_verified(folder: Path, state: dict[str, list[int]]) -> bool:
    try:
        return json.loads((folder / _VERIFIED).read_text(encoding="utf-8")) == state
    except (OSError, ValueError):  # never verified, or the record is damaged
        return False


def _record_verified(folder: Path, state: dict[str, list[int]]) -> None:
    if time.time_ns() - max(max(mtime, ctime) for _, mtime, ctime, _ in state.values()) < _SETTLED_NS:
        return
    try:
        write_text(folder / _VERIFIED, json.dumps(state))
    except OSError as error:
        _log.debug("%s: %s; the set will be verified again", folder, error)
