"""Download a file, or a zip archive to unpack, from where a data set is published."""

from __future__ import annotations

import glob
import hashlib
import http.client
import logging
import os
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revgnn.data.unpack import check_free, unpack_folder
from revgnn.files import is_leftover, remove_empty, replacing

MAX_BYTES = 16 << 30
"""No published set is larger, packed or unpacked."""

WAITS = (1.0, 5.0)
"""Seconds before the second try and each later one."""

LOG = "revgnn.data.download"
"""Name of the logger that says what is downloaded, from where, and what its checksum is."""

_BLOCK = 1 << 20
_TRY_AGAIN = {408, 416, 425, 429}
"""Answers of a server below 500 that ask for another try."""

_STALE_SECONDS = 3600.0
"""A temporary file that nobody has written to for so long belongs to a process that was killed."""

_log = logging.getLogger(LOG)


class _Transient(ValueError):
    """A download that may succeed the next time."""


def download_file(url: str, path: Path, sha256: str | None = None) -> None:
    """Download `url` to `path`, in one step (see `revgnn.files`): if it fails, nothing is left there.

    If a server does not answer, a connection is cut short or the checksum is wrong, it tries again after the seconds in `WAITS`. A
    connection that was cut is continued where it ended, if the server can do that and its file is still the same. A URL of http is
    tried by https first. Without https and without a checksum a warning says that the content cannot be checked.

    Raises:
        ValueError: if the server does not answer, the connection is cut short, more than `MAX_BYTES` come, or the checksum is not
            the expected one; after the last try.
        OSError: if the file cannot be written. It names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    encrypted = _encrypted(url)
    if encrypted != url:
        try:
            _try_repeatedly(encrypted, path, sha256, waits=())
            return
        except ValueError as error:
            if sha256 is None:
                warnings.warn(
                    f"{error} Trying {url}, where nobody can tell whether its content was changed on the way.", stacklevel=2
                )
    _try_repeatedly(url, path, sha256, WAITS)


def _remove_stale(path: Path) -> None:
    """Remove temporary files of downloads to `path` that were killed. Another process may be downloading it at this moment."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):
            if is_leftover(file) and time.time() - file.stat().st_mtime > _STALE_SECONDS:
                file.unlink()


@dataclass
class _Progress:
    """How far the tries of one download have come.

    Attributes:
        start: byte that the present answer begins with.
        version: what the server says of its file, by which a later try knows that it is still the same; None if it says nothing.
    """

    start: int = 0
    version: str | None = None


def _try_repeatedly(url: str, path: Path, sha256: str | None, waits: Sequence[float]) -> None:
    progress = _Progress()
    with replacing(path) as temporary:
        for number in range(len(waits) + 1):
            try:
                _download(url, temporary, sha256, progress)
                return
            except _Transient as error:
                if number == len(waits):
                    raise ValueError(f"{error} Fetch it by other means and put it at {path}, or try again later.") from None
                _log.warning("%s Trying again in %g s.", error, waits[number])
                time.sleep(waits[number])


def _download(url: str, temporary: Path, sha256: str | None, progress: _Progress) -> None:
    """Download to a temporary file, which holds what earlier tries got."""
    with open(temporary, "r+b") as file:
        progress.start = file.seek(0, os.SEEK_END) if progress.version is not None else 0
        placed = False
        for block in _blocks(url, progress):
            if not placed:
                file.seek(progress.start)
                file.truncate()
                placed = True
            file.write(block)
        if not placed:  # nothing came
            file.seek(progress.start)
            file.truncate()
    if sha256 is not None and (found := sha256_of(temporary)) != sha256:
        progress.version = None  # begin anew
        raise _Transient(f"{url} sent other data than expected: sha256 {found}, wanted {sha256}.")


def _blocks(url: str, progress: _Progress) -> Iterator[bytes]:
    """Yield what a URL sends, from the byte `progress.start` on, which becomes 0 if the server sends all of it.

    Raises:
        _Transient, ValueError: unless it is as long as announced and not too large.
    """
    wanted: str | urllib.request.Request = url
    if progress.start:
        headers = {"Range": f"bytes={progress.start}-", "If-Range": progress.version or ""}
        wanted = urllib.request.Request(url, headers=headers)
    received = 0
    try:
        with urllib.request.urlopen(wanted, timeout=60) as answer:
            if not _continues(answer, progress.start):
                progress.start = 0
            progress.version = _version(answer)
            announced = answer.headers.get("Content-Length", "")
            total = progress.start + int(announced) if announced.isdigit() else None
            _log.info("downloading %s (%s bytes%s)", url, total or "?", f", from byte {progress.start}" if progress.start else "")
            shares = _Shares(total)
            while block := answer.read(_BLOCK):
                received += len(block)
                if progress.start + received > MAX_BYTES:
                    raise ValueError(f"{url} sends more than {MAX_BYTES:,} bytes, more than any published set has.")
                yield block
                shares.show(progress.start + received)
    except (OSError, http.client.HTTPException) as error:  # of the connection: the caller writes outside of this block
        message = f"{url} could not be downloaded: {error}."
        if isinstance(error, urllib.error.HTTPError):
            progress.version = None
            if error.code < 500 and error.code not in _TRY_AGAIN:
                raise ValueError(message) from None
        raise _Transient(message) from None
    if announced.isdigit() and received != int(announced):
        raise _Transient(f"{url} sent {received:,} of {announced} bytes; the connection was cut short.")


class _Shares:
    """Logs how much of a large file has come, at each tenth."""

    def __init__(self, total: int | None) -> None:
        self._total = total if total is not None and total >= 10 * _BLOCK else None
        self._shown = 0

    def show(self, received: int) -> None:
        if self._total is not None and (tenths := 10 * received // self._total) > self._shown:
            self._shown = tenths
            _log.info("%d %% of %.0f MB", 10 * tenths, self._total / 1e6)


def _continues(answer: Any, start: int) -> bool:
    """Return whether an answer begins with the byte `start`, and not with the first."""
    return getattr(answer, "status", None) == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _version(answer: Any) -> str | None:
    """Return the strong ETag of an answer, or its time of change; None if it has neither, or if the server sends no parts."""
    if answer.headers.get("Accept-Ranges", "").strip().casefold() == "none":
        return None
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified") or None


def _encrypted(url: str) -> str:
    """Return a URL of http as one of https; that of this machine as it is."""
    parts = urllib.parse.urlsplit(url)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts._replace(scheme="https").geturl() if parts.scheme == "http" and not is_local else url


def download_folder(
    url: str,
    inner: str,
    folder: Path,
    archive: Path | None = None,
    *,
    sha256: str | None = None,
    accept: Callable[[Path], object] = lambda _: None,
) -> None:
    """Download a zip archive and put the folder `inner` of it at `folder`, in one step.

    Args:
        archive: where the archive is kept. None: it is removed.
        sha256: its published checksum, if there is one.
        accept: is called with the archive before it is unpacked; it may raise `ValueError`.

    Raises:
        ValueError: if there is such a folder already, the server does not answer, or the archive is damaged or has no folder
            `inner`.
        OSError: if the folder cannot be written.
    """
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if archive is None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            download_folder(url, inner, folder, Path(scratch) / "archive.zip")
        return
    try:
        download_file(url, archive, sha256)
        accept(archive)
        unpack_folder(archive, inner, folder, source=f"what {url} sent", max_bytes=MAX_BYTES)
    except ValueError:  # it must be downloaded again
        archive.unlink(missing_ok=True)
        remove_empty([archive.parent])
        raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
