"""`load`: every data set by its name, by its path, or generated."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from revgnn._words import LOAD, speaks_python
from revgnn.data.cache import cached
from revgnn.data.catalogue import Entry, catalogue, find_entry, nearest_names
from revgnn.data.dataset import NodeDataset
from revgnn.data.download import download_file, download_folder, sha256_of
from revgnn.data.generated.synthetic import generate
from revgnn.data.locate import ROOT_VARIABLE, default_root, find_folder
from revgnn.data.readers.file_kind import FORMATS, describe_file
from revgnn.data.readers.npz import read_npz
from revgnn.data.readers.ogb import read_ogb
from revgnn.data.readers.ogb_meta import OFFICIAL, meta_file, read_meta
from revgnn.data.readers.pyg import raw_files, read_pyg
from revgnn.data.tables.files import find_tables, holds_tables, table_format
from revgnn.data.tables.options import TableOptions

EdgeStorage = Literal["float32", "auto", "float16", "bfloat16"]


@speaks_python(LOAD)
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
    ignore_unknown: bool = False,
    tables: TableOptions | None = None,
) -> NodeDataset:
    """Load a data set, ready to train on.

    Args:
        name: a name of the `catalogue()`; `ogbn-NAME` for any folder `ogbn_NAME` in OGB's layout; the path of such a folder or of
            an `.npz` file (see `revgnn.data.readers.npz`); the path of a folder with tables `nodes` and `edges`, or of the table of
            nodes (see `revgnn.data.tables`); or `synthetic`, with arguments of `generate` as in
            `synthetic:nodes=4000,degree=30,seed=1`.
        root: the data set's own folder or one at most two levels above it, in the layout of PyTorch Geometric or OGB.
            Default: `$REVGNN_DATA`, or `data`.
        split: number of the split to use. For sets without a published split it is the seed of a random one. For OGB's layout it
            may also be the name of a folder below `split/`.
        undirected: add the reverse of every edge, and keep each edge once. Default: as is usual for the set.
        self_loops: True gives every node one, False removes them. Default: as is usual for the set.
        download: download a named set that is not there.
        cache: keep large sets in a form that opens at once the next time (`revgnn.data.cache`).
        edge_storage: how edge features are stored, in memory and in the cache. "auto": as 16-bit integers if they are decimals from
            which every float32 is recovered exactly, otherwise as float32; "float16", "bfloat16": rounded (`Graph.compressed`).
            Node features made from edge features are made from the exact ones.
        ignore_unknown: skip arrays of an `.npz` file whose names are not known, instead of raising.
        tables: how tables are read; None for all other data sets, and for what `graph.yaml` or the tables themselves say.

    Raises:
        ValueError: if the name is unknown (the message has the most similar), files are missing or damaged, the split does not
            exist, or the data cannot be trained on.
    """
    root = default_root() if root is None else Path(root).expanduser()
    if edge_storage not in get_args(EdgeStorage):
        raise ValueError(f"edge_storage must be one of {', '.join(get_args(EdgeStorage))}, got {edge_storage!r}.")
    options = _Options(root, split, undirected, self_loops, download, cache, edge_storage, ignore_unknown)
    head, _, arguments = name.partition(":")
    if head.casefold() == "synthetic":
        return _generate(name, arguments, options)
    path, entry = _as_path(name, root), find_entry(head)
    if path is not None and (table_format(path) is not None or holds_tables(path)):
        return _load_tables(path, tables or TableOptions(), options)
    if tables is not None:
        raise ValueError(f"{name} is not a folder with tables or a table; options of tables do not fit it.")
    if path is not None and path.is_file():
        return _load_npz(path, options)
    if path is not None and (in_pyg_layout := _pyg_entry(path)) is not None:
        return _load_pyg(in_pyg_layout, replace(options, root=path))
    if entry is not None and entry.kind != "ogb":
        return _load_pyg(entry, options)
    if entry is not None or name.casefold().startswith("ogbn"):
        return _load_ogb(name, None, options)
    if path is not None and (path / "raw").is_dir():
        return _load_ogb(path.resolve().name, path, options)
    raise _unknown_name_error(name, path)


class _GraphOptions(TypedDict):
    undirected: bool | None
    self_loops: bool | None


@dataclass(frozen=True)
class _Options:
    """The arguments of `load` other than the name."""

    root: Path
    split: int | str
    undirected: bool | None
    self_loops: bool | None
    download: bool
    cache: bool
    edge_storage: EdgeStorage
    ignore_unknown: bool

    @property
    def split_number(self) -> int:
        """The split to use where splits are numbered; 0 if `split` is a name."""
        return self.split if isinstance(self.split, int) else 0

    @property
    def graph(self) -> _GraphOptions:
        """The options that every reader takes."""
        return {"undirected": self.undirected, "self_loops": self.self_loops}

    def read(
        self, read: Callable[[], NodeDataset], source: Path, files: Sequence[Path], *, split: int = 0, **key: Any
    ) -> NodeDataset:
        """Return `read()` in the requested storage, from the cache if that is allowed.

        Args:
            read: reads the data set.
            source: its file or folder.
            files: the files that `read` reads.
            split: number of the split in use, which `read` uses too.
            key: everything else that the result depends on, besides the options of every reader.
        """

        def read_and_store() -> NodeDataset:
            return self.store(read())

        if not self.cache:
            return read_and_store()
        return cached(read_and_store, source, files, {**key, **self.graph, "edge_storage": self.edge_storage}, split=split)

    def store(self, dataset: NodeDataset) -> NodeDataset:
        """Return the data set with its edge features in the requested storage; readers return float32."""
        if self.edge_storage == "float32":
            return dataset
        return replace(dataset, graph=dataset.graph.compressed(self.edge_storage))


def _generate(name: str, arguments: str, options: _Options) -> NodeDataset:
    if options.undirected is not None or options.self_loops is not None:
        raise ValueError("a generated data set takes its options in its name, as synthetic:nodes=4000,degree=30.")
    dataset = replace(generate(**_parse_arguments(arguments)), name=name)
    return _choose_split(options.store(dataset), options.split)


def _load_npz(path: Path, options: _Options) -> NodeDataset:
    split, unknown = options.split_number, options.ignore_unknown
    read = functools.partial(read_npz, path, ignore_unknown=unknown, split=split, **options.graph)
    # Files without splits get ten random ones, or as many as the caller needs.
    dataset = options.read(read, path, [path], split=split, ignore_unknown=unknown, num_random_splits=max(10, split + 1))
    return _choose_split(dataset, options.split)


def _load_tables(path: Path, tables: TableOptions, options: _Options) -> NodeDataset:
    # Only here: pyarrow takes a moment to import.
    from revgnn.data.tables.dataset import read_tables

    if isinstance(options.split, str):
        raise ValueError(f"{path} has no split named {options.split!r}; splits of tables are numbered.")
    edges, graph_file = (None if name is None else Path(name).expanduser() for name in (tables.edges, tables.graph_file))
    files = find_tables(path, edges, graph_file)
    return options.store(read_tables(files, tables, split=options.split, **options.graph))


def _load_ogb(name: str, folder: Path | None, options: _Options) -> NodeDataset:
    name = name.casefold().replace("_", "-").removesuffix("-pyg")
    if folder is None:
        folder = _ogb_folder(name, options)
    split_name = options.split if isinstance(options.split, str) else None
    meta = meta_file(folder)
    files = [*(folder / "raw").iterdir(), *([] if meta is None else [meta]), *(folder / "split").glob("*/*")]
    files = [path for path in files if path.is_file()]
    compress = options.edge_storage == "auto"
    read = functools.partial(read_ogb, folder, name, split=split_name, compress=compress, **options.graph)
    dataset = options.read(read, folder, files, name=name, split_name=split_name or read_meta(folder, name).split)
    # The named split is the only one of the data set.
    return _choose_split(dataset, 0 if split_name is not None else options.split)


def _ogb_folder(name: str, options: _Options) -> Path:
    """Find the folder of a set in OGB's layout, or download it."""
    folder_name = name.replace("-", "_")
    for marker in ("raw/edge.csv.gz", "raw/data.npz"):
        folder = find_folder(options.root, (folder_name, f"{folder_name}_pyg"), marker, any_name_at_root=False)
        if folder is not None:
            return folder
    if not options.download or name not in OFFICIAL:
        raise _missing_error(name, f"{folder_name}/raw/edge.csv.gz (or data.npz)", options.root, name in OFFICIAL)
    folder = options.root / folder_name
    download_folder(OFFICIAL[name].url, OFFICIAL[name].download_name, folder)
    return folder


def _load_pyg(entry: Entry, options: _Options) -> NodeDataset:
    folder = _pyg_folder(entry, options)
    files = [folder / path for path in raw_files(entry.name)]
    # Random split s has seed s, whatever their number: make ten, or as many as the caller needs.
    num_splits = max(10, options.split + 1) if isinstance(options.split, int) else 10
    split = options.split_number
    read = functools.partial(read_pyg, folder, entry.name, num_splits=num_splits, split=split, **options.graph)
    dataset = options.read(read, folder, files, split=split, name=entry.name, num_splits=num_splits)
    return _choose_split(dataset, options.split)


def _pyg_entry(folder: Path) -> Entry | None:
    """Return the set of which `folder` holds the raw files in PyTorch Geometric's layout, or None."""
    entries = (entry for entry in catalogue() if entry.kind in ("planetoid", "amazon", "heterophilous"))
    return next((entry for entry in entries if (folder / next(iter(raw_files(entry.name)))).is_file()), None)


def _pyg_folder(entry: Entry, options: _Options) -> Path:
    """Find the folder of a set in PyTorch Geometric's layout, or download its files; check that none is missing."""
    files = raw_files(entry.name)
    marker = next(iter(files))
    folder = find_folder(options.root, (entry.name,), marker, any_name_at_root=True)
    if folder is None:
        if not options.download:
            raise _missing_error(entry.name, f"{entry.name}/{marker}", options.root, True)
        folder = options.root / entry.name
        for path, url in files.items():
            download_file(url, folder / path, dict(entry.sha256).get(Path(path).name))
    missing = [path for path in files if not (folder / path).is_file()]
    if missing:
        raise ValueError(f"{entry.name} in {folder} is incomplete: {', '.join(missing)} missing.")
    expected = dict(entry.sha256)
    for path in files:
        wanted = expected.get(Path(path).name)
        if wanted is not None and sha256_of(folder / path) != wanted:
            raise ValueError(
                f"{folder / path} is not the published file of {entry.name}: its sha256 is {sha256_of(folder / path)}, "
                f"not {wanted}. Delete it and download it again, or save your own version of the set as an .npz file."
            )
    return folder


def _choose_split(dataset: NodeDataset, split: int | str) -> NodeDataset:
    if isinstance(split, str):
        raise ValueError(f"{dataset.name} has no split named {split!r}; its splits are numbered 0 to {len(dataset.splits) - 1}.")
    return dataset if split == dataset.split_index else dataset.with_split(split)


# --- names --------------------------------------------------------------------------------------------------------------


def _as_path(name: str, root: Path) -> Path | None:
    """Return the file or folder with the path `name`, in the working directory or below `root`, or None if there is none.

    For a name that ends in .npz, or as a table does, the result is never None: it may be a file that does not exist.
    """
    candidates = (Path(name).expanduser(), root / name)
    if name.casefold().endswith(".npz") or table_format(name) is not None:
        return next((path for path in candidates if path.is_file()), candidates[0])
    if "/" in name or "\\" in name:
        return next((path for path in candidates if path.is_dir()), None)
    # A folder with the name of a known data set is not meant, unless it holds tables.
    return next((path for path in candidates if holds_tables(path)), None)


def _parse_arguments(text: str) -> dict[str, Any]:
    """Return `nodes=4000,degree=30` as keyword arguments of `generate`."""
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


def _unknown_name_error(name: str, path: Path | None) -> ValueError:
    if name.casefold().endswith(".npz"):
        return ValueError(f"there is no file {name}, neither in the working directory nor below the root.")
    if path is not None:
        return ValueError(
            f"{path} is a folder without raw/, which OGB's layout has, and without tables nodes.csv and edges.csv (or .tsv, "
            ".jsonl, .parquet); name a folder with either, a data set or an .npz file."
        )
    if Path(name).expanduser().is_file():
        return ValueError(f"{name} is a file that cannot be read: {describe_file(Path(name).expanduser())}")
    near = nearest_names(name)
    guess = f"did you mean {', '.join(near)}?" if near else "`revgnn datasets` lists the known ones."
    return ValueError(f"unknown data set {name!r}; {guess} A path names {FORMATS}.")


def _missing_error(name: str, marker: str, root: Path, can_download: bool) -> ValueError:
    remedy = "pass download=True to download it, or" if can_download else "it cannot be downloaded (not an official set);"
    where = f"looked for {marker} in {root} and two levels below" if root.is_dir() else f"the root {root} is not a folder"
    return ValueError(f"{name} is not there: {where}; {remedy} pass the folder that holds it as root (or set ${ROOT_VARIABLE}).")
