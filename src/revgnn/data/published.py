"""Data sets in the folder layouts of OGB and of PyTorch Geometric: find, download, check and read them."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from revgnn.data.archives import FOLDER, check_archive, find_archive, read_checksums, record_archive, write_checksums
from revgnn.data.catalogue import Entry, find_entry
from revgnn.data.dataset import NodeDataset
from revgnn.data.download import LOG, MAX_BYTES, download_file, download_folder, sha256_of
from revgnn.data.locate import ROOT_VARIABLE, find_folder
from revgnn.data.read_options import ReadOptions, choose_split
from revgnn.data.readers.ogb import RAW_FILES, read_ogb
from revgnn.data.readers.ogb_meta import OFFICIAL, meta_file, read_meta
from revgnn.data.readers.pyg import raw_files, read_pyg
from revgnn.data.unpack import check_free, unpack_files, unpack_folder
from revgnn.files import remove_empty

_CHECKSUMS = "raw.sha256"
"""Name of the file in the folder of a set with the checksums of downloaded files that have no published ones."""

_log = logging.getLogger(LOG)


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
    marker = f"{folder_name}/raw/edge.csv.gz (or data.npz)"
    if name not in OFFICIAL:
        raise _missing_error(name, marker, options.root, None)
    meta, folder = OFFICIAL[name], options.root / folder_name
    archive_name = meta.url.rpartition("/")[2]
    known = dict(entry.sha256).get(archive_name) if (entry := find_entry(name)) is not None else None
    archive = find_archive(options.archive, options.root, [archive_name])
    if archive is None:
        if not options.download:
            raise _missing_error(name, marker, options.root, archive_name)
        archive = options.root / FOLDER / archive_name
        check = functools.partial(check_archive, root=options.root, known=known)
        download_folder(meta.url, meta.download_name, folder, archive, sha256=known, accept=check)
        record_archive(archive, options.root, check(archive))
        _log.info("the archive is kept at %s; the set in %s does not need it any more", archive, folder)
        return folder
    check_free(folder)
    checksum = check_archive(archive, options.root, known)
    _log.info("unpacking %s to %s", archive, folder)
    unpack_folder(archive, meta.download_name, folder, source=str(archive), max_bytes=MAX_BYTES)
    record_archive(archive, options.root, checksum)
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
        folder = options.root / entry.name
        names = [Path(path).name for path in files]
        archive_names = [f"{entry.name}.zip", *(names if len(names) == 1 else [])]
        archive = find_archive(options.archive, options.root, archive_names)
        if archive is not None:
            _unpack_raw(archive, entry, folder, options.root)
        elif options.download:
            _download_raw(entry, folder)
        else:
            raise _missing_error(entry.name, f"{entry.name}/{marker}", options.root, archive_names[-1])
    missing = [path for path in files if not (folder / path).is_file()]
    if missing:
        raise ValueError(f"{entry.name} in {folder} is incomplete: {', '.join(missing)} missing.")
    published, recorded = dict(entry.sha256), read_checksums(folder / _CHECKSUMS)
    for path in files:
        if (wanted := published.get(Path(path).name)) is not None and sha256_of(folder / path) != wanted:
            raise ValueError(
                f"{folder / path} is not the published file of {entry.name}: its sha256 is {sha256_of(folder / path)}, "
                f"not {wanted}. Delete it and download it again, or save your own version of the set as an .npz file."
            )
        if wanted is None and path in recorded and sha256_of(folder / path) != recorded[path]:
            raise ValueError(
                f"{folder / path} has changed since it was downloaded: its sha256 is {sha256_of(folder / path)}, not "
                f"{recorded[path]} as in {folder / _CHECKSUMS}. Delete both and download it again."
            )
    return folder


def _unpack_raw(archive: Path, entry: Entry, folder: Path, root: Path) -> None:
    """Put the raw files of a set into its folder, from an archive. Files that are not the published ones are removed again."""
    published = dict(entry.sha256)
    paths = [folder / path for path in raw_files(entry.name)]
    is_known = all(path.name in published for path in paths)
    checksum = None if is_known else check_archive(archive, root)
    _log.info("unpacking %s to %s", archive, folder)
    try:
        unpack_files(archive, [path.name for path in paths], folder / "raw", max_bytes=MAX_BYTES)
        for path in paths:
            wanted, found = published.get(path.name), sha256_of(path)
            if wanted is not None and found != wanted:
                raise ValueError(
                    f"{archive} does not hold the published {path.name} of {entry.name}: its sha256 is {found}, wanted {wanted}; "
                    "fetch it again."
                )
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        remove_empty([folder / "raw", folder])
        raise
    record_archive(archive, root, checksum)


def _download_raw(entry: Entry, folder: Path) -> None:
    """Download the raw files of a set into its folder, and record the checksums of those that have no published one."""
    published, recorded = dict(entry.sha256), {}
    for path, url in raw_files(entry.name).items():
        wanted = published.get(Path(path).name)
        download_file(url, folder / path, wanted)
        if wanted is None:
            recorded[path] = sha256_of(folder / path)
            _log.info("%s: sha256 %s; none is published, recorded in %s", path, recorded[path], folder / _CHECKSUMS)
    if recorded:
        write_checksums(folder / _CHECKSUMS, recorded)


def _missing_error(name: str, marker: str, root: Path, archive: str | None) -> ValueError:
    """Return the error for a set that is not there.

    Args:
        archive: the name of its archive; None if it is not published.
    """
    remedy = "it cannot be downloaded (not an official set);"
    if archive is not None:
        remedy = f"pass download=True to download it, put its archive at {root / FOLDER / archive} (or name it by --archive), or"
    where = f"looked for {marker} in {root} and two levels below" if root.is_dir() else f"the root {root} is not a folder"
    return ValueError(f"{name} is not there: {where}; {remedy} pass the folder that holds it as root (or set ${ROOT_VARIABLE}).")
