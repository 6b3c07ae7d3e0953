"""Files and folders are replaced in one step, and stay as they were if writing fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from revgnn.files import replacing, replacing_folder, write_json, write_text


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
