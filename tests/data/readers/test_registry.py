"""The registry of formats: what the documentation and the command line say about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.data.readers.format import Format
from revgnn.data.readers.registry import FORMATS, find_format, is_file_name

ROOT = Path(__file__).resolve().parents[3]
ROWS = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs/data.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_every_format_has_its_row_in_the_documentation(format: Format) -> None:
    rows = [row for row in ROWS if row[0] == format.name]
    assert len(rows) == 1
    _, endings, holds = rows[0]
    plain = [ending for ending in format.endings if not ending.endswith(".gz")]
    assert endings == (" ".join(f"`{ending}`" for ending in plain) if plain else "a folder")
    assert holds == format.holds


def test_names_differ_and_endings_are_plain() -> None:
    assert len({format.name for format in FORMATS}) == len(FORMATS)
    for format in FORMATS:
        assert format.endings or format.fits is not None
        assert (format.read is None) == (format.gives == "folder")
        assert all(ending == ending.casefold() and ending.startswith(".") for ending in format.endings)


def test_formats_of_one_ending_look_into_the_file() -> None:
    """All but the last of those that share an ending."""
    for ending in {ending for format in FORMATS for ending in format.endings}:
        sharing = [format for format in FORMATS if ending in format.endings]
        assert all(format.fits is not None for format in sharing[:-1])


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert find_format(tmp_path) is None
    assert find_format(tmp_path / "a.graphml") is None
    assert is_file_name("A.GraphML")
    assert not is_file_name("tolokers")


def test_the_command_line_lists_them() -> None:
    result = CliRunner().invoke(app, ["datasets", "--formats"])
    assert result.exit_code == 0
    for format in FORMATS:
        assert format.name in result.output
