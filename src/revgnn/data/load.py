"""`load`: every data set by its name, by its path, or generated."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import get_args

from revgnn._words import LOAD, speaks_python
from revgnn.data.catalogue import catalogue, find_entry, nearest_names
from revgnn.data.dataset import NodeDataset, TaskSetting
from revgnn.data.generated.registry import generator_of, make
from revgnn.data.links import RATIOS, make_links
from revgnn.data.locate import default_root
from revgnn.data.published import load_ogb, load_raw_pyg
from revgnn.data.read_options import EdgeStorage, ReadOptions, choose_split
from revgnn.data.readers import npz, pyg, pyg_class, registry, tu
from revgnn.data.readers.arrays import dataset_of_arrays
from revgnn.data.readers.file_kind import FORMATS, describe_file
from revgnn.data.readers.format import Format
from revgnn.data.readers.graph_files import find_graph_files
from revgnn.data.readers.npz import read_npz
from revgnn.data.readers.ogb_meta import OFFICIAL
from revgnn.data.tables.files import holds_tables, table_format
from revgnn.data.tables.options import TableOptions
from revgnn.files import expanded


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
    archive: Path | str | None = None,
) -> NodeDataset:
    """Load a data set, ready to train on.

    Args:
        name: a name of the `catalogue()`; `ogbn-NAME` for any folder `ogbn_NAME` in OGB's layout; the path of a file or folder in
            one of the formats of `revgnn.data.readers.registry`, such as an `.npz` file, tables or GraphML; `pyg:CLASS:NAME` for a
            class of `torch_geometric.datasets`; or the name of a generator with its arguments, as in
            `synthetic:nodes=4000,degree=30,seed=1` (`revgnn.data.generated.registry`).
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
        tables: how tables and graph files are read; None for all other data sets, and for what `graph.yaml` or the tables
            themselves say. Its `task` also holds for files and folders of other formats.
        archive: the archive of a published set, or the folder or file of its raw files, to unpack below `root` if the set is not
            there. Default: the archive in `ROOT/archives`, if there is one; see `revgnn.data.archives`.

    Raises:
        ValueError: if the name is unknown (the message has the most similar), files are missing or damaged, the split does not
            exist, or the data cannot be trained on.
    """
    if edge_storage not in get_args(EdgeStorage):
        raise ValueError(f"edge_storage must be one of {', '.join(get_args(EdgeStorage))}, got {edge_storage!r}.")
    root = default_root() if root is None else expanded(root)
    options = ReadOptions(root, split, undirected, self_loops, download, cache, edge_storage, ignore_unknown)
    if archive is not None:
        options = replace(options, archive=expanded(archive))
        _check_takes_archive(name)
    if tables is not None and tables.task == "links":
        return _load_links(name, tables, options)
    return _load(name, tables, options)


def _load_links(name: str, tables: TableOptions, options: ReadOptions) -> NodeDataset:
    """Return the links of a graph. Its own labels and splits are not used."""
    path = _as_path(name, options.root)
    format = registry.find_format(path) if path is not None and path.exists() else None
    if path is not None and _is_read_as_tables(path, format):
        return _load_tables(path, tables, options)
    base: TableOptions | None = replace(tables, split_ratios=None)
    if (format is None or not _takes_task(format)) and base == TableOptions(task="links"):
        base = None
    return make_links(_load(name, base, replace(options, split=0)), _seed(options.split), tables.split_ratios or RATIOS)


def _check_takes_archive(name: str) -> None:
    """Raise `ValueError` unless the data set is published as files that can be downloaded."""
    published = [entry.name for entry in catalogue() if entry.name in OFFICIAL or entry.kind not in ("ogb", "generated")]
    if (entry := find_entry(name.removesuffix("-pyg"))) is None or entry.name not in published:
        raise ValueError(f"{name} is not downloaded, so it takes no --archive; these do: {', '.join(published)}.")


def _seed(split: int | str) -> int:
    if isinstance(split, str):
        raise ValueError(f"links have no split named {split!r}; each number is the seed of a random one.")
    return split


def _takes_task(format: Format) -> bool:
    """Return whether the task replaces what the labels in such a file look like."""
    return format.gives == "arrays" or format is tu.FORMAT


def _load(name: str, tables: TableOptions | None, options: ReadOptions) -> NodeDataset:
    """Return the data set as its own files describe it."""
    root = options.root
    if generator_of(name) is not None:
        return _generate(name, options)
    path, entry = _as_path(name, root), find_entry(name.partition(":")[0])
    format = registry.find_format(path) if path is not None and path.exists() else None
    if path is not None and _is_read_as_tables(path, format):
        return _load_tables(path, tables or TableOptions(), options)
    task = None if tables is None else tables.task
    if format is not None and _takes_task(format) and tables == (None if task is None else TableOptions(task=task)):
        assert path is not None
        if format is tu.FORMAT:
            return _load_tu(path, options, task)
        return _load_npz(path, options, task) if format is npz.FORMAT else _load_arrays(path, format, options, task)
    if tables is not None:
        raise ValueError(f"{name} is not a folder with tables, a table or a graph file; options of tables do not fit it.")
    if name.startswith(pyg_class.PREFIX):
        return _load_pyg_class(name, options)
    if path is not None and format is pyg.FORMAT:
        in_pyg_layout = pyg.find_raw(path)
        assert in_pyg_layout is not None
        return load_raw_pyg(in_pyg_layout, replace(options, root=path))
    if entry is not None and entry.kind != "ogb":
        return load_raw_pyg(entry, options)
    if entry is not None or name.casefold().startswith("ogbn"):
        return load_ogb(name, None, options)
    if path is not None and (path / "raw").is_dir():
        return load_ogb(path.resolve().name, path, options)
    raise _unknown_name_error(name, path)


def _generate(name: str, options: ReadOptions) -> NodeDataset:
    if options.undirected is not None or options.self_loops is False:
        raise ValueError("a generated data set takes its options in its name, as synthetic:nodes=4000,degree=30.")
    dataset = make(name)
    if options.self_loops:
        if dataset.graph.edge_attr is not None:
            raise ValueError("self-loops would have no edge features: leave self_loops out for a graph with edge features.")
        dataset = replace(dataset, graph=dataset.graph.with_self_loops())
    return choose_split(options.store(dataset), options.split)


def _load_npz(path: Path, options: ReadOptions, task: TaskSetting | None) -> NodeDataset:
    split, unknown = options.split_number, options.ignore_unknown
    key = {} if task is None else {"task": task}
    read = functools.partial(read_npz, path, ignore_unknown=unknown, split=split, **options.graph, **key)
    # Files without splits get ten random ones, or as many as the caller needs.
    dataset = options.read(read, path, [path], split=split, ignore_unknown=unknown, num_random_splits=max(10, split + 1), **key)
    return choose_split(dataset, options.split)


def _load_arrays(path: Path, format: Format, options: ReadOptions, task: TaskSetting | None) -> NodeDataset:
    split, key = options.split_number, {} if task is None else {"task": task}

    def read() -> NodeDataset:
        return dataset_of_arrays(format.arrays(path), path, split=split, **options.graph, task=task)

    files = [path] if path.is_file() else [file for file in (path / "processed").iterdir() if file.is_file()]
    dataset = options.read(read, path, files, split=split, reader=format.name, num_random_splits=max(10, split + 1), **key)
    return choose_split(dataset, options.split)


def _load_pyg_class(name: str, options: ReadOptions) -> NodeDataset:
    class_name, set_name = pyg_class.split_name(name)
    entry = find_entry(set_name)
    if entry is not None and entry.kind == pyg_class.OWN_READERS.get(class_name):
        return load_raw_pyg(entry, options)
    arrays = pyg_class.read_pyg_class(class_name, set_name, options.root, download=options.download)
    dataset = dataset_of_arrays(arrays, Path(name), split=options.split_number, **options.graph)
    return choose_split(options.store(dataset), options.split)


def _load_tu(path: Path, options: ReadOptions, task: TaskSetting | None) -> NodeDataset:
    folder = tu.find_tu(path)
    assert folder is not None
    dataset = tu.read_tu(folder, split=options.split_number, task=task, **options.graph)
    return choose_split(options.store(dataset), options.split)


def _is_read_as_tables(path: Path, format: Format | None) -> bool:
    """Return whether a path is a folder with tables, a table, or a graph file that becomes tables."""
    return (
        format is registry.TABLES or table_format(path) is not None or (format is not None and format.gives in ("graph", "edges"))
    )


def _load_tables(path: Path, tables: TableOptions, options: ReadOptions) -> NodeDataset:
    # Only here: pyarrow takes a moment to import.
    from revgnn.data.tables.dataset import read_tables

    if isinstance(options.split, str):
        raise ValueError(f"{path} has no split named {options.split!r}; splits of tables are numbered.")
    given = (tables.edges, tables.graph_file, tables.label_file)
    edges, graph_file, label_file = (None if name is None else expanded(name) for name in given)
    files = find_graph_files(path, edges, graph_file, label_file=label_file)
    dataset = options.store(read_tables(files, tables, split=options.split, **options.graph))
    if dataset.tables is not None and dataset.tables.stored.spec.task == "links":
        return make_links(dataset, options.split, tables.split_ratios or RATIOS)
    return dataset


# --- names --------------------------------------------------------------------------------------------------------------


def _as_path(name: str, root: Path) -> Path | None:
    """Return the file or folder with the path `name`, in the working directory or below `root`, or None if there is none.

    For a name that ends as files of a format do, the result is never None: it may be a file that does not exist.
    """
    candidates = (expanded(name), root / name)
    if registry.is_file_name(name) or table_format(name) is not None:
        return next((path for path in candidates if path.exists()), candidates[0])
    if "/" in name or "\\" in name:
        return next((path for path in candidates if path.is_dir()), None)
    # A folder with the name of a known data set is not meant, unless it holds tables or many graphs.
    return next((path for path in candidates if holds_tables(path) or tu.find_tu(path) is not None), None)


def _unknown_name_error(name: str, path: Path | None) -> ValueError:
    if path is not None and not path.exists():
        return ValueError(f"there is no file {name}, neither in the working directory nor below the root.")
    if path is not None and path.is_dir():
        return ValueError(
            f"{path} is a folder without raw/, which OGB's layout has, without processed/ of PyTorch Geometric, and without tables "
            "nodes.csv and edges.csv (or .tsv, .jsonl, .parquet); name a folder with one of them, a data set or a file."
        )
    file = expanded(name) if path is None else path
    if file.is_file():
        return ValueError(f"{file} is a file that cannot be read: {describe_file(file)}")
    near = nearest_names(name)
    guess = f"did you mean {', '.join(near)}?" if near else "`revgnn datasets` lists the known ones."
    return ValueError(f"unknown data set {name!r}; {guess} A path names {FORMATS}.")
