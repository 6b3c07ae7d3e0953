"""Fetching a file, or an archive to unpack, from where a data set is published."""

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

_log = logging.getLogger("revgnn.data")


def fetch(url: str, path: Path, sha256: str | None = None) -> None:
    """Download to `path`, which is there whole or not at all.

    Raises:
        ValueError: if the address does not answer, or what came has not the expected checksum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, open(temporary, "wb") as file:
            _log.info("downloading %s (%s bytes)", url, answer.headers.get("Content-Length", "?"))
            shutil.copyfileobj(answer, file, 1 << 20)
        _check(temporary, url, sha256)
        os.replace(temporary, path)
    except (urllib.error.URLError, OSError) as error:
        raise ValueError(f"{url} could not be downloaded: {error}. Fetch it by other means and put it at {path}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def fetch_folder(url: str, inner: str, folder: Path) -> None:
    """Download a zip archive and make the folder `inner` within it `folder`, whole or not at all.

    Raises:
        ValueError: if the address does not answer, or the archive is damaged or holds no `inner`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        archive = Path(scratch) / "archive.zip"
        fetch(url, archive)
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(scratch)  # drops absolute paths and `..` of its own accord
        except zipfile.BadZipFile as error:
            raise ValueError(f"what {url} sent is no zip archive: {error}.") from None
        if not (Path(scratch) / inner).is_dir():
            raise ValueError(f"the archive of {url} holds no folder {inner}.")
        os.replace(Path(scratch) / inner, folder)


def _check(path: Path, url: str, sha256: str | None) -> None:
    if sha256 is None:
        return
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise ValueError(f"{url} sent other data than expected: sha256 {digest.hexdigest()}, wanted {sha256}.")
