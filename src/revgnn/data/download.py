"""Download a file, or a zip archive and unpack it, from where a data set is published."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from revgnn.files import replacing

_log = logging.getLogger("revgnn.data")


def download_file(url: str, path: Path, sha256: str | None = None) -> None:
    """Download `url` to `path`, in one step (see `revgnn.files`).

    Raises:
        ValueError: if the server does not answer, or the checksum is not the expected one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as temporary:
            with urllib.request.urlopen(url, timeout=60) as answer, open(temporary, "wb") as file:
                _log.info("downloading %s (%s bytes)", url, answer.headers.get("Content-Length", "?"))
                shutil.copyfileobj(answer, file, 1 << 20)
            _check_sha256(temporary, url, sha256)
    except (urllib.error.URLError, OSError) as error:
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
                file.extractall(scratch)  # removes absolute paths and `..`
        except zipfile.BadZipFile as error:
            raise ValueError(f"what {url} sent is not a zip archive: {error}.") from None
        if not (Path(scratch) / inner).is_dir():
            raise ValueError(f"the archive of {url} has no folder {inner}.")
        os.replace(Path(scratch) / inner, folder)


def _check_sha256(path: Path, url: str, expected: str | None) -> None:
    if expected is None:
        return
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise ValueError(f"{url} sent other data than expected: sha256 {digest.hexdigest()}, wanted {expected}.")
