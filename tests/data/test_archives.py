"""Archives that the user has, and downloads that are cut: checked, recorded, continued; without a network."""

from __future__ import annotations

import hashlib
import http.server
import logging
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.data import download, load
from revgnn.data.download import LOG, download_file
from revgnn.data.readers.ogb_meta import OFFICIAL
from revgnn.data.unpack import unpack_files

CORA = "planetoid/Cora/raw"
TOLOKERS = "heterophilous/tolokers/raw/tolokers.npz"
COMPUTERS = "amazon/Computers/raw/amazon_electronics_computers.npz"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(archive: Path, folder: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, Path(inside) / path.relative_to(folder))
    return archive


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))


# --- raw files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["zip", "folder", "in archives"])
def test_a_set_of_several_files(real_data: Path, tmp_path: Path, form: str) -> None:
    """In whatever folders of the archive they are; afterwards the archive is not needed."""
    archive = (
        real_data / "planetoid" if form == "folder" else zipped(tmp_path / "mine.zip", real_data / "planetoid" / "Cora", "x/y")
    )
    root = tmp_path / "root"
    if form == "in archives":
        (root / "archives").mkdir(parents=True)
        archive.rename(root / "archives" / "cora.zip")
    found = load("cora", root, archive=None if form == "in archives" else archive)
    assert found.graph.num_edges == 10_556
    assert len(list((root / "cora" / "raw").iterdir())) == 8
    (tmp_path / "mine.zip").unlink(missing_ok=True)
    assert load("cora", root).graph.num_edges == 10_556
    assert not (root / "archives" / "mine.zip.sha256").exists()  # its files have published checksums


@pytest.mark.parametrize("form", ["the file", "a zip", "in archives"])
def test_a_set_of_one_file(real_data: Path, tmp_path: Path, form: str) -> None:
    root, archive = tmp_path / "root", tmp_path / ("t.zip" if form == "a zip" else "some-name.npz")
    if form == "a zip":
        zipped(archive, (real_data / TOLOKERS).parent)
    elif form == "in archives":
        archive = root / "archives" / "tolokers.npz"
        archive.parent.mkdir(parents=True)
    if form != "a zip":
        shutil.copyfile(real_data / TOLOKERS, archive)
    found = load("tolokers", root, archive=None if form == "in archives" else archive)
    assert found.num_nodes == 11_758
    assert (root / "tolokers" / "raw" / "tolokers.npz").read_bytes() == (real_data / TOLOKERS).read_bytes()


def test_a_file_that_is_not_the_published_one_is_refused(real_data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tolokers.npz"
    archive.write_bytes((real_data / TOLOKERS).read_bytes() + b"x")
    wanted, came = sha256((real_data / TOLOKERS).read_bytes()), sha256(archive.read_bytes())
    with pytest.raises(ValueError, match=rf"does not hold the published tolokers.npz .* sha256 is {came}, wanted {wanted}"):
        load("tolokers", tmp_path / "root", archive=archive)
    assert not (tmp_path / "root" / "tolokers").exists()


def test_a_checksum_that_nobody_published_is_recorded_and_compared(
    real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOG)
    root, archive = tmp_path / "root", tmp_path / "computers.npz"
    shutil.copyfile(real_data / COMPUTERS, archive)
    first = sha256(archive.read_bytes())
    assert load("computers", root, archive=archive).num_nodes == 13_752
    record = root / "archives" / "computers.npz.sha256"
    assert record.read_text() == f"{first}  computers.npz\n"
    assert f"sha256 {first}; none is published" in caplog.text
    shutil.rmtree(root / "computers")
    archive.write_bytes(archive.read_bytes() + b"x")
    came = sha256(archive.read_bytes())
    with pytest.raises(ValueError, match=rf"its sha256 is {came}, wanted {first}, as recorded in .*computers.npz.sha256"):
        load("computers", root, archive=archive)
    assert not (root / "computers").exists()


def test_downloaded_files_without_published_checksums_are_recorded(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = (real_data / COMPUTERS).as_uri()
    path = "raw/amazon_electronics_computers.npz"
    monkeypatch.setattr("revgnn.data.published.raw_files", lambda _: {path: url})
    load("computers", tmp_path, download=True)
    file = tmp_path / "computers" / path
    assert (tmp_path / "computers" / "raw.sha256").read_text() == f"{sha256(file.read_bytes())}  {path}\n"
    load("computers", tmp_path)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ValueError, match="has changed since it was downloaded: its sha256 is"):
        load("computers", tmp_path)


def test_what_cannot_be_an_archive(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no archive"):
        load("cora", tmp_path, archive=tmp_path / "none.zip")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"bad.zip is not a zip archive that can be unpacked"):
        load("cora", tmp_path, archive=tmp_path / "bad.zip")
    zipped(tmp_path / "other.zip", (real_data / TOLOKERS).parent)
    with pytest.raises(ValueError, match=r"other.zip has no file ind.cora.x"):
        load("cora", tmp_path, archive=tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as file:
        for name in ("ind.cora.x", "ind.cora.tx"):
            file.write(real_data / CORA / name, name)
    with pytest.raises(ValueError, match=r"half.zip has no file ind.cora.allx"):
        load("cora", tmp_path, archive=tmp_path / "half.zip")
    assert not (tmp_path / "cora").exists()
    for name in ("synthetic:nodes=100", "ogbn-humanppi", "g.npz"):
        with pytest.raises(ValueError, match=rf"{name} is not downloaded, so it takes no archive=...; these do: cora, "):
            load(name, tmp_path, archive=tmp_path / "other.zip")
    with pytest.raises(ValueError, match=r"would unpack to .* more than 1,000"):
        unpack_files(tmp_path / "other.zip", ["tolokers.npz"], tmp_path / "out", max_bytes=1000)


# --- sets in OGB's layout -----------------------------------------------------------------------------------------------


@pytest.fixture
def arxiv(real_data: Path, tmp_path: Path) -> Path:
    """An archive with the name and layout of ogbn-arxiv's."""
    return zipped(tmp_path / "arxiv.zip", real_data / "ogb" / "ogbn_humanppi", "arxiv")


@pytest.mark.parametrize("form", ["given", "in archives"])
def test_an_archive_of_ogb(arxiv: Path, tmp_path: Path, form: str) -> None:
    root, archive = tmp_path / "root", arxiv
    (root / "archives").mkdir(parents=True)
    if form == "in archives":
        archive = arxiv.rename(root / "archives" / "arxiv.zip")
    found = load("ogbn-arxiv", root, self_loops=False, archive=archive if form == "given" else None)
    assert found.graph.num_edges == 874_602
    record = root / "archives" / "arxiv.zip.sha256"
    assert record.read_text() == f"{sha256(archive.read_bytes())}  arxiv.zip\n"
    shutil.rmtree(root / "ogbn_arxiv")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("arxiv/more", "x")
    with pytest.raises(ValueError, match="is not the expected archive"):
        load("ogbn-arxiv", root, self_loops=False, archive=archive)
    assert not (root / "ogbn_arxiv").exists()
    record.unlink()  # as the message says
    load("ogbn-arxiv", root, self_loops=False, archive=archive)


def test_a_set_that_is_missing_says_where_its_archive_may_be(tmp_path: Path) -> None:
    for name, archive in (("ogbn-proteins", "proteins.zip"), ("cora", "cora.zip"), ("tolokers", "tolokers.npz")):
        with pytest.raises(ValueError, match=rf"put its archive at {tmp_path}/archives/{archive} \(or name it by archive=...\)"):
            load(name, tmp_path)


def test_the_command_line_says_what_it_unpacks(real_data: Path, tmp_path: Path) -> None:
    shutil.copyfile(real_data / COMPUTERS, tmp_path / "mine.npz")
    small = ["--set", "model.depth=2", "--set", "model.channels=8", "--epochs", "1", "--device", "cpu", "-q"]
    words = ["train", "computers", "--preset", "revgnn-7", *small, "--root", str(tmp_path / "root"), "--out", str(tmp_path / "a")]
    result = CliRunner().invoke(app, [*words, "--archive", str(tmp_path / "mine.npz")])
    assert result.exit_code == 0, result.output
    assert f"unpacking {tmp_path}/mine.npz to {tmp_path}/root/computers" in result.stderr
    assert f"recorded in {tmp_path}/root/archives/mine.npz.sha256" in result.stderr
    (tmp_path / "mine.npz").unlink()
    assert CliRunner().invoke(app, ["evaluate", str(tmp_path / "a")]).exit_code == 0
    refused = CliRunner().invoke(app, ["train", "synthetic", "--archive", str(tmp_path / "mine.npz"), "--out", str(tmp_path / "b")])
    assert refused.stderr.startswith("error: synthetic is not downloaded, so it takes no --archive")


# --- downloads that are cut ---------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 40


@contextmanager
def server(
    cuts: list[int], *, tags: tuple[str | None, ...] = ('"a"',), ranges: bool = True
) -> Iterator[tuple[str, list[str | None]]]:
    """Yield a URL, and a list of the ranges that are asked for. Each answer ends after so many bytes of what it announces.

    Args:
        tags: the ETag of each answer; the last stays.
    """
    asked: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number, wanted = len(asked), self.headers.get("Range")
            asked.append(wanted)
            tag = tags[min(number, len(tags) - 1)]
            start = 0
            if wanted is not None and ranges and self.headers.get("If-Range") == tag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            else:
                self.send_response(200)
            if tag is not None:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            end = start + cuts[number] if number < len(cuts) else len(CONTENT)
            self.wfile.write(CONTENT[start:end])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/x", asked
        finally:
            running.shutdown()
            thread.join()


def test_a_cut_download_goes_on_where_it_ended(tmp_path: Path) -> None:
    with server([1000, 500]) as (url, asked):
        download_file(url, tmp_path / "x", sha256(CONTENT))
    assert asked == [None, "bytes=1000-", "bytes=1500-"]
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("how", ["the file has changed", "the server sends no parts", "the server names no version"])
def test_it_begins_anew_if_it_cannot_go_on(tmp_path: Path, how: str) -> None:
    tags = {"the file has changed": ('"a"', '"b"'), "the server names no version": (None,)}.get(how, ('"a"',))
    with server([1000], tags=tags, ranges=how != "the server sends no parts") as (url, asked):
        download_file(url, tmp_path / "x")
    assert asked == [None, None if how == "the server names no version" else "bytes=1000-"]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_with_what_came_and_what_was_wanted(tmp_path: Path) -> None:
    with server([]) as (url, asked), pytest.raises(ValueError, match=rf"sha256 {sha256(CONTENT)}, wanted {'0' * 64}. .* put it at"):
        download_file(url, tmp_path / "x", "0" * 64)
    assert asked == [None] * 3  # a file that is wrong is not continued
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_download_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    import os

    old, young, other = (tmp_path / f".{name}.0123456789abcdef.tmp" for name in ("x", "x.young", "y"))
    young = tmp_path / ".x.fedcba9876543210.tmp"
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    with server([]) as (url, _):
        download_file(url, tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([young.name, other.name, "x"])


def test_an_interrupted_download_of_a_set_begins_anew(arxiv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C leaves neither half a set nor half an archive; the next call downloads it."""
    monkeypatch.setitem(OFFICIAL, "ogbn-arxiv", OFFICIAL["ogbn-arxiv"]._replace(url=arxiv.as_uri()))
    root, blocks = tmp_path / "root", download._blocks

    def interrupted(*arguments: object) -> Iterator[bytes]:
        yield next(blocks(*arguments))[:100]  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("ogbn-arxiv", root, download=True, self_loops=False)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(download, "_blocks", blocks)
    assert load("ogbn-arxiv", root, download=True, self_loops=False).graph.num_edges == 874_602
