"""Data sets in the folder layouts of OGB and of PyTorch Geometric: find, download, check and read them."""

from __future__ import annotations

import functools
from pathlib import Path

from revgnn.data.catalogue import Entry
from revgnn.data.dataset import NodeDataset
from revgnn.data.download import download_file, download_folder, sha256_of
from revgnn.data.locate import ROOT_VARIABLE, find_folder
from revgnn.data.read_options import ReadOptions, choose_split
from revgnn.data.readers.ogb import RAW_FILES, read_ogb
from revgnn.data.readers.ogb_meta import OFFICIAL, meta_file, read_meta
from revgnn.data.readers.pyg import raw_files, read_pyg


def load_ogb(name: str, folder: Path | None, options: ReadOptions) -> NodeDataset:
    """Load a set in OGB's layout from its folder, or, if that is None, from the one that is found below the root."""
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
    return choose_split(dataset, 0 if split_name is not None else options.split)


def _ogb_folder(name: str, options: ReadOptions) -> Path:
    """Find the folder of a set in OGB's layout, or download it."""
    folder_name = name.replace("-", "_")
    for marker in RAW_FILES:
        folder = find_folder(options.root, (folder_name, f"{folder_name}_pyg"), marker, any_name_at_root=False)
        if folder is not None:
            return folder
    if not options.download or name not in OFFICIAL:
        raise _missing_error(name, f"{folder_name}/raw/edge.csv.gz (or data.npz)", options.root, name in OFFICIAL)
    folder = options.root / folder_name
    download_folder(OFFICIAL[name].url, OFFICIAL[name].download_name, folder)
    return folder


def load_raw_pyg(entry: Entry, options: ReadOptions) -> NodeDataset:
    folder = _pyg_folder(entry, options)
    files = [folder / path for path in raw_files(entry.name)]
    # Random split s has seed s, whatever their number: make ten, or as many as the caller needs.
    num_splits = max(10, options.split + 1) if isinstance(options.split, int) else 10
    split = options.split_number
    read = functools.partial(read_pyg, folder, entry.name, num_splits=num_splits, split=split, **options.graph)
    dataset = options.read(read, folder, files, split=split, name=entry.name, num_splits=num_splits)
    return choose_split(dataset, options.split)


def _pyg_folder(entry: Entry, options: ReadOptions) -> Path:
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


def _missing_error(name: str, marker: str, root: Path, can_download: bool) -> ValueError:
    remedy = "pass download=True to download it, or" if can_download else "it cannot be downloaded (not an official set);"
    where = f"looked for {marker} in {root} and two levels below" if root.is_dir() else f"the root {root} is not a folder"
    return ValueError(f"{name} is not there: {where}; {remedy} pass the folder that holds it as root (or set ${ROOT_VARIABLE}).")
