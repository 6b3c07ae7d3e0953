"""Download a file, or a zip archive and unpack it, from where a data set is published."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import IO

from revgnn.files import replacing

MAX_BYTES = 16 << 30
"""No published set is larger, packed or unpacked."""

_BLOCK = 1 << 20

_log = logging.getLogger("revgnn.data")


def download_file(url: str, path: Path, sha256: str | None = None) -> None:
    """Download `url` to `path`, in one step (see `revgnn.files`): if it fails, nothing is left there.

    Raises:
        ValueError: if the server does not answer, the connection is cut short, more than `MAX_BYTES` come, or the checksum is not
            the expected one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as temporary:
            with urllib.request.urlopen(url, timeout=60) as answer, open(temporary, "wb") as file:
                _log.info("downloading %s (%s bytes)", url, answer.headers.get("Content-Length", "?"))
                _copy(answer, file, url)
            if sha256 is not None and sha256_of(temporary) != sha256:
                raise ValueError(f"{url} sent other data than expected: sha256 {sha256_of(temporary)}, wanted {sha256}.")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ValueError(f"{url} could not be downloaded: {error}. Fetch it by other means and put it at {path}.") from None


def download_folder(url: str, inner: str, folder: Path) -> None:
    """Download a zip archive and put the folder `inner` of it at `folder`, in one step.

    Raises:
        ValueError: if the server does not answer, or the archive is damaged or has no folder `inner`.
    """
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


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], url: str) -> None:
    """Copy the body of an answer, and raise `ValueError` unless it is as long as announced and not too large."""
    announced, received = answer.headers.get("Content-Length", ""), 0
    while block := answer.read(_BLOCK):
        received += len(block)
        if received > MAX_BYTES:
            raise ValueError(f"{url} sends more than {MAX_BYTES:,} bytes, more than any published set has.")
        file.write(block)
    if announced.isdigit() and received != int(announced):
        raise ValueError(f"{url} sent {received:,} of {announced} bytes; the connection was cut short. Try again.")
