"""Files and folders are replaced in one step, and stay as they were if writing fails."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from revgnn.files import append, expanded, remove_leftovers, replacing, replacing_folder, write_json, write_text
from revgnn.train.config import RunConfig


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_old_file_stays_if_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"whole")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        write_half()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["a.bin"]


def test_write_text_replaces(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text() == text


def test_write_json_can_be_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"epoch": 3, "best": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"epoch": 3, "best": None}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with replacing_folder(tmp_path / "set") as temporary:
            (temporary / name).write_text(name)
        assert names(tmp_path / "set") == [name]
    assert names(tmp_path) == ["set"]


def test_the_old_folder_stays_if_writing_fails(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "whole").touch()

    def write_half() -> None:
        with replacing_folder(folder) as temporary:
            (temporary / "half").touch()
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        write_half()
    assert names(folder) == ["whole"]
    assert names(tmp_path) == ["set"]


# --- only regular files are replaced --------------------------------------------------------------------------------------


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_link_to_device(path: Path) -> None:
    path.symlink_to(os.devnull)


@pytest.mark.parametrize("make", [make_folder, make_pipe, make_socket, make_link_to_device])
def test_what_is_no_regular_file_stays(tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("a")
    make(path)
    before = path.lstat()
    for write in (lambda: write_text(path, "new"), lambda: append(path, b"new")):
        with pytest.raises(OSError, match=r"is a (folder|pipe|socket|device); name a file to write") as error:
            write()
        assert error.value.filename == str(path)
    assert path.lstat() == before
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "precious"
    if exists:
        target.write_text("mine")
    (tmp_path / "a").symlink_to(target)
    write_text(tmp_path / "a", "new")
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_text() == "new"
    assert (target.read_text() == "mine") if exists else not target.exists()


def test_a_planted_temporary_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name cannot be guessed. Even if it is, the link is an error."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".a.guessed.tmp").symlink_to(tmp_path / "precious")
    with pytest.raises(FileExistsError) as error:
        write_text(tmp_path / "a", "new")
    assert error.value.filename == str(tmp_path / "a")
    assert ((tmp_path / "a").read_text(), (tmp_path / "precious").read_text()) == ("old", "mine")


def test_temporary_names_differ(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        assert one != other


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.touch()
    path.chmod(mode)
    write_text(path, "new")
    assert path.stat().st_mode & 0o777 == mode


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a") as temporary:
            temporary.unlink()
            temporary.touch(0o600)  # as safetensors does
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


# --- every failure names the file -----------------------------------------------------------------------------------------


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: write_text(path, "new"), lambda: append(path, b"new")):
        with pytest.raises(OSError, match="No space left") as error:
            write()
        assert error.value.filename == str(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_missing_folder_is_named_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "no" / "a"
    for write in (lambda: write_text(path, "new"), lambda: append(path, b"new")):
        with pytest.raises(FileNotFoundError) as error:
            write()
        assert error.value.filename == str(path)


def test_errors_about_other_files_pass_unchanged(tmp_path: Path) -> None:
    def read_another() -> None:
        with replacing(tmp_path / "a"):
            (tmp_path / "another").read_text()

    with pytest.raises(FileNotFoundError) as error:
        read_another()
    assert error.value.filename == str(tmp_path / "another")


def test_append(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert [append(path, line) for line in (b"one\n", b"two\n")] == [4, 8]
    assert path.read_bytes() == b"one\ntwo\n"


def test_leftovers_are_those_of_the_named_file(tmp_path: Path) -> None:
    for name in (".a[1].0123456789abcdef.tmp", ".b.0123456789abcdef.tmp", "a[1]"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a[1]")
    assert sorted(names(tmp_path)) == [".b.0123456789abcdef.tmp", "a[1]"]


def test_a_home_that_does_not_exist_stays_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/data") == Path("/home/me/data")
    assert expanded("~0/data") == Path("~0/data")
    assert RunConfig().replace({"data.name": "a", "data.edges": "~0"}).flat()["data.edges"] == str(Path("~0").absolute())
