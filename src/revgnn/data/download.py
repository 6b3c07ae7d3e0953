"""Download a file, or a zip archive and unpack it, from where a data set is published."""

from __future__ import annotations

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
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from revgnn.files import replacing

MAX_BYTES = 16 << 30
"""No published set is larger, packed or unpacked."""

WAITS = (1.0, 5.0)
"""Seconds before the second try and each later one."""

_BLOCK = 1 << 20
_TRY_AGAIN = {408, 425, 429}
"""Answers of a server below 500 that ask for another try."""

_log = logging.getLogger("revgnn.data")


class _Transient(ValueError):
    """A download that may succeed the next time."""


def download_file(url: str, path: Path, sha256: str | None = None) -> None:
    """Download `url` to `path`, in one step (see `revgnn.files`): if it fails, nothing is left there.

    If a server does not answer, a connection is cut short or the checksum is wrong, it tries again after the seconds in `WAITS`. A
    URL of http is tried by https first. Without https and without a checksum a warning says that the content cannot be checked.

    Raises:
        ValueError: if the server does not answer, the connection is cut short, more than `MAX_BYTES` come, or the checksum is not
            the expected one; after the last try.
        OSError: if the file cannot be written. It names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _try_repeatedly(url: str, path: Path, sha256: str | None, waits: Sequence[float]) -> None:
    for number in range(len(waits) + 1):
        try:
            _download(url, path, sha256)
            return
        except _Transient as error:
            if number == len(waits):
                raise ValueError(f"{error} Fetch it by other means and put it at {path}, or try again later.") from None
            _log.warning("%s Trying again in %g s.", error, waits[number])
            time.sleep(waits[number])


def _download(url: str, path: Path, sha256: str | None) -> None:
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            for block in _blocks(url):
                file.write(block)
        if sha256 is not None and (found := sha256_of(temporary)) != sha256:
            raise _Transient(f"{url} sent other data than expected: sha256 {found}, wanted {sha256}.")


def _blocks(url: str) -> Iterator[bytes]:
    """Yield what a URL sends.

    Raises:
        _Transient, ValueError: unless it is as long as announced and not too large.
    """
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            announced = answer.headers.get("Content-Length", "")
            _log.info("downloading %s (%s bytes)", url, announced or "?")
            while block := answer.read(_BLOCK):
                received += len(block)
                if received > MAX_BYTES:
                    raise ValueError(f"{url} sends more than {MAX_BYTES:,} bytes, more than any published set has.")
                yield block
    except (OSError, http.client.HTTPException) as error:  # of the connection: the caller writes outside of this block
        message = f"{url} could not be downloaded: {error}."
        if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in _TRY_AGAIN:
            raise ValueError(message) from None
        raise _Transient(message) from None
    if announced.isdigit() and received != int(announced):
        raise _Transient(f"{url} sent {received:,} of {announced} bytes; the connection was cut short.")


def _encrypted(url: str) -> str:
    """Return a URL of http as one of https; that of this machine as it is."""
    parts = urllib.parse.urlsplit(url)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts._replace(scheme="https").geturl() if parts.scheme == "http" and not is_local else url


def download_folder(url: str, inner: str, folder: Path) -> None:
    """Download a zip archive and put the folder `inner` of it at `folder`, in one step.

    Raises:
        ValueError: if there is such a folder already, the server does not answer, or the archive is damaged or has no folder
            `inner`.
        OSError: if the folder cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists, but does not hold the whole data set; move it away to download the set again.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        archive = Path(scratch) / "archive.zip"
        download_file(url, archive)
        try:
            with zipfile.ZipFile(archive) as file:
                size = sum(member.file_size for member in file.infolist())
                if size > MAX_BYTES:
                    raise ValueError(f"it would unpack to {size:,} bytes, more than {MAX_BYTES:,}")
                file.extractall(scratch)  # removes absolute paths and `..`
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"what {url} sent is not a zip archive that can be unpacked: {error}.") from None
        if not (Path(scratch) / inner).is_dir():
            raise ValueError(f"the archive of {url} has no folder {inner}.")
        os.replace(Path(scratch) / inner, folder)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
