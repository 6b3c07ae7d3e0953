"""Archives of published data sets that the user has: where they are looked for, and their checksums.

An archive is given by its path, or lies in `ROOT/archives` under the name that it is published with. If no published checksum is
known, that of the first use is recorded beside it, as `sha256sum` writes it, and later uses compare.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from revgnn.data.download import LOG, sha256_of
from revgnn.files import expanded, write_text

FOLDER = "archives"
"""Below the root: archives of data sets, by the names they are published with, and checksums."""

_log = logging.getLogger(LOG)


def find_archive(given: Path | str | None, root: Path, names: Iterable[str]) -> Path | None:
    """Return the archive that the user has: `given`, or the first of `names` in `ROOT/archives`; None if there is none.

    Raises:
        ValueError: if `given` does not exist.
    """
    if given is not None:
        archive = expanded(given)
        if not archive.exists():
            raise ValueError(f"there is no archive {archive}; --archive names a file or folder that you have.")
        return archive
    return next((path for path in (root / FOLDER / name for name in names) if path.is_file()), None)


def check_archive(archive: Path, root: Path, known: str | None = None) -> str | None:
    """Return the checksum of an archive if it is to be recorded, because there is nothing yet to compare it with.

    Args:
        known: the published SHA-256, if there is one.

    Raises:
        ValueError: if it is not the published one, or not that of the first use.
    """
    if not archive.is_file():
        return None  # a folder
    record, found = _record(archive, root), sha256_of(archive)
    wanted = known or read_checksums(record).get(archive.name)
    if wanted is None:
        return found
    if found != wanted:
        source = "as published" if known else f"as recorded in {record} when it was first used"
        remedy = "fetch it again" if known else "fetch it again, or delete that record if another version is right"
        raise ValueError(f"{archive} is not the expected archive: its sha256 is {found}, wanted {wanted}, {source}; {remedy}.")
    return None


def record_archive(archive: Path, root: Path, checksum: str | None) -> None:
    """Record the checksum of an archive at its first use; None: it is known."""
    if checksum is not None:
        record = _record(archive, root)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_checksums(record, {archive.name: checksum})
        _log.info("%s: sha256 %s; none is published to compare it with, recorded in %s", archive, checksum, record)


def _record(archive: Path, root: Path) -> Path:
    return root / FOLDER / f"{archive.name}.sha256"


def read_checksums(path: Path) -> dict[str, str]:
    """Return SHA-256 by name from a file as `sha256sum` writes it; empty if there is none. Lines of another form are skipped."""
    if not path.is_file():
        return {}
    words = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {pair[1].removeprefix("*"): pair[0].casefold() for pair in words if len(pair) == 2 and len(pair[0]) == 64}


def write_checksums(path: Path, checksums: Mapping[str, str]) -> None:
    """Write a file that `sha256sum -c` can check in its folder."""
    write_text(path, "".join(f"{digest}  {name}\n" for name, digest in checksums.items()))
