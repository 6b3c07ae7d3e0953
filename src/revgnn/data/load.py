"""One door to all data sets: by name, by path, or generated."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from revgnn.data.cache import cached
from revgnn.data.catalogue import Entry, find_entry, nearest_names
from revgnn.data.dataset import NodeDataset
from revgnn.data.download import fetch, fetch_folder
from revgnn.data.generated.synthetic import generate
from revgnn.data.readers.locate import ROOT_VARIABLE, default_root, find_folder
from revgnn.data.readers.npz import read_npz
from revgnn.data.readers.ogb import OFFICIAL, read_meta, read_ogb
from revgnn.data.readers.pyg import raw_files, read_pyg

EdgeStorage = Literal["float32", "auto", "float16", "bfloat16"]
_Keep = Callable[[Callable[[], NodeDataset], Path, list[Path], Mapping[str, object]], NodeDataset]
"""Reads a data set from its own files, or takes it from the cache: `read`, the source, its files, the options."""


def load(
    name: str,
    root: Path | str | None = None,
    *,
    split: int | str = 0,
    undirected: bool | None = None,
    self_loops: bool | None = None,
    download: bool = False,
    cache: bool = True,
    edge_storage: EdgeStorage = "float32",
) -> NodeDataset:
    """A data set, ready to train on.

    Args:
        name: a name of the `catalogue()`; `ogbn-NAME` for any folder `ogbn_NAME` in OGB's layout; the path of such a folder or of
            an `.npz` file (see `revgnn.data.readers.npz`); or `synthetic`, with arguments as in `synthetic:nodes=4000,degree=30,seed=1`.
        root: the data set's own folder or one up to two levels above it, in the layout of PyTorch Geometric or OGB.
            Default: `$REVGNN_DATA`, or `data`.
        split: which of the set's splits to use: its number, which for sets without a published split is the seed of a random one;
            for OGB's layout also the name of a folder below `split/`.
        undirected: add the reverse of every edge, and keep each edge once. Default: as the set is used by custom.
        self_loops: True gives every node one, False drops them. Default: as the set is used by custom.
        download: fetch a named set that is not there from where it is published.
        cache: keep large sets in a form that opens at once the next time (`revgnn.data.cache`).
        edge_storage: how edge features are held, in memory and in the cache. "auto": as 16-bit integers where they are decimals
            that come back to the last bit, else as float32; "float16", "bfloat16": rounded (`Graph.compressed`). Node features
            made of edge features are made of the exact ones.

    Raises:
        ValueError: an unknown name (the message has the nearest), files that are missing or damaged, a split that does not exist,
            data that cannot be trained on.
    """
    root = default_root() if root is None else Path(root).expanduser()
    if edge_storage not in get_args(EdgeStorage):
        raise ValueError(f"edge_storage must be one of {', '.join(get_args(EdgeStorage))}, got {edge_storage!r}.")
    keep: _Keep = functools.partial(_kept, cache=cache, edge_storage=edge_storage)
    graph_options = {"undirected": undirected, "self_loops": self_loops}
    head, _, arguments = name.partition(":")
    path = _as_path(name, root)
    entry = find_entry(head)

    if head.casefold() == "synthetic":
        if undirected is not None or self_loops is not None:
            raise ValueError("a generated data set takes its options in its name, as synthetic:nodes=4000,degree=30.")
        return _choose(_stored(replace(generate(**_parse_arguments(arguments)), name=name), edge_storage), split)
    if path is not None and path.is_file():
        return _choose(keep(lambda: read_npz(path, **graph_options), path, [path], graph_options), split)
    if entry is not None and entry.kind != "ogb":
        return _load_pyg(entry, root, split, graph_options, download, keep)
    if entry is not None or name.casefold().startswith("ogbn"):
        return _load_ogb(name, None, root, split, graph_options, download, keep, edge_storage == "auto")
    if path is not None and (path / "raw").is_dir():
        return _load_ogb(path.resolve().name, path, root, split, graph_options, download, keep, edge_storage == "auto")
    raise _unknown(name, path)


# --- by kind ------------------------------------------------------------------------------------------------------------


def _load_ogb(
    name: str,
    folder: Path | None,
    root: Path,
    split: int | str,
    options: dict[str, bool | None],
    download: bool,
    keep: _Keep,
    compress: bool,
) -> NodeDataset:
    name = name.casefold().replace("_", "-").removesuffix("-pyg")
    split_name = split if isinstance(split, str) else None
    plain = name.replace("-", "_")
    if folder is None:
        for marker in ("raw/edge.csv.gz", "raw/data.npz"):
            folder = folder or find_folder(root, (plain, f"{plain}_pyg"), marker, any_name_at_root=False)
    if folder is None:
        if not download or name not in OFFICIAL:
            raise _missing(name, f"{plain}/raw/edge.csv.gz (or data.npz)", root, name in OFFICIAL)
        folder = root / plain
        fetch_folder(OFFICIAL[name].url, OFFICIAL[name].download_name, folder)
    found = folder
    chosen = split_name or read_meta(found, name).split
    files = [p for p in [*(found / "raw").iterdir(), found / "meta_dict.json", *(found / "split").glob("*/*")] if p.is_file()]
    key = {"name": name, "split": chosen, **options}
    dataset = keep(lambda: read_ogb(found, name, split=split_name, compress=compress, **options), found, files, key)
    return _choose(dataset, 0 if split_name is not None else split)


def _load_pyg(
    entry: Entry, root: Path, split: int | str, options: dict[str, bool | None], download: bool, keep: _Keep
) -> NodeDataset:
    files = raw_files(entry.name)
    marker = next(iter(files))
    folder = find_folder(root, (entry.name,), marker, any_name_at_root=True)
    if folder is None:
        if not download:
            raise _missing(entry.name, f"{entry.name}/{marker}", root, True)
        folder = root / entry.name
        for path, url in files.items():
            fetch(url, folder / path, dict(entry.sha256).get(Path(path).name))
    missing = [path for path in files if not (folder / path).is_file()]
    if missing:
        raise ValueError(f"{entry.name} in {folder} is incomplete: {', '.join(missing)} missing.")
    # Random split s has seed s, so any number will do; made are ten, or as many as it takes.
    num_splits = max(10, split + 1) if isinstance(split, int) else 10
    key = {"name": entry.name, "num_splits": num_splits, **options}
    read = lambda: read_pyg(folder, entry.name, num_splits=num_splits, **options)  # noqa: E731 - as short as it gets
    dataset = keep(read, folder, [folder / path for path in files], key)
    return _choose(dataset, split)


def _kept(
    read: Callable[[], NodeDataset],
    source: Path,
    files: list[Path],
    options: Mapping[str, object],
    *,
    cache: bool,
    edge_storage: EdgeStorage,
) -> NodeDataset:
    read_as = functools.partial(_read_as, read, edge_storage)
    return cached(read_as, source, files, {**options, "edge_storage": edge_storage}) if cache else read_as()


def _read_as(read: Callable[[], NodeDataset], edge_storage: EdgeStorage) -> NodeDataset:
    return _stored(read(), edge_storage)


def _stored(dataset: NodeDataset, edge_storage: EdgeStorage) -> NodeDataset:
    """In the form asked for; 'float32' is what readers give."""
    return dataset if edge_storage == "float32" else replace(dataset, graph=dataset.graph.compressed(edge_storage))


def _choose(dataset: NodeDataset, split: int | str) -> NodeDataset:
    if isinstance(split, str):
        raise ValueError(f"{dataset.name} has no split named {split!r}; its splits are numbered 0 to {len(dataset.splits) - 1}.")
    return dataset if split == dataset.split_index else dataset.with_split(split)


# --- names --------------------------------------------------------------------------------------------------------------


def _as_path(name: str, root: Path) -> Path | None:
    """The file or folder that `name` is, as it stands or below `root`; None if it does not look like a path and is none."""
    candidates = (Path(name).expanduser(), root / name)
    if name.casefold().endswith(".npz"):
        return next((path for path in candidates if path.is_file()), candidates[0])
    return next((path for path in candidates if path.is_dir()), None) if "/" in name or "\\" in name else None


def _parse_arguments(text: str) -> dict[str, Any]:
    """`nodes=4000,degree=30` as keyword arguments of `generate`."""
    kinds = {key.removeprefix("num_"): (key, type(p.default)) for key, p in inspect.signature(generate).parameters.items()}
    out: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = item.partition("=")
        if key.strip() not in kinds:
            raise ValueError(f"synthetic has no argument {key.strip()!r}; it has {', '.join(kinds)}, as in synthetic:nodes=4000.")
        argument, kind = kinds[key.strip()]
        try:
            out[argument] = kind(value)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ValueError(f"synthetic: {key.strip()} must be {wanted}, got {value!r}.") from None
    return out


def _unknown(name: str, path: Path | None) -> ValueError:
    if name.casefold().endswith(".npz"):
        return ValueError(f"there is no file {name}, neither in the working directory nor below the root.")
    if path is not None:
        return ValueError(
            f"{path} is a folder without raw/, which OGB's layout has; name such a folder, a data set or an .npz file."
        )
    near = nearest_names(name)
    guess = f"did you mean {', '.join(near)}?" if near else "`revgnn datasets` lists those there are."
    return ValueError(f"unknown data set {name!r}; {guess} A folder in OGB's layout or an .npz file is named by its path.")


def _missing(name: str, marker: str, root: Path, can_download: bool) -> ValueError:
    remedy = "pass download=True to fetch it, or" if can_download else "it is not an official set, so"
    where = f"looked for {marker} in {root} and two levels below" if root.is_dir() else f"the root {root} is not a folder"
    return ValueError(f"{name} is not there: {where}; {remedy} name the folder that holds it as root (or in ${ROOT_VARIABLE}).")
