"""metrics.jsonl is read while it is written: whatever part of it is there, whole lines are read once and never wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revgnn.experiments.run_files.metrics import MetricsFile, column, read_epoch

LINES = [{"epoch": n, "loss": 1.0 / n, "valid": None if n % 2 else 0.5 + n / 100, "seconds": 0.25} for n in range(1, 6)]
CONTENT = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)


@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=6))
def test_any_way_of_appending_gives_the_same_epochs(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    file = MetricsFile(path)
    assert file.read() == []
    ends = [*sorted(cuts), len(CONTENT)]
    for begin, end in zip([0, *ends], ends, strict=False):
        with open(path, "ab") as opened:
            opened.write(CONTENT[begin:end])
        assert file.read() == LINES[: CONTENT[:end].count(b"\n")]
    assert file.read() == LINES


def test_a_file_that_was_cut_back_or_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(CONTENT)
    file = MetricsFile(path)
    assert file.read() == LINES
    path.write_bytes(b"".join(CONTENT.splitlines(keepends=True)[:2]))  # a resumed run
    assert file.read() == LINES[:2]
    other = tmp_path / "other"
    other.write_bytes(CONTENT.replace(b"0.25", b"0.75"))
    other.replace(path)
    assert [line["seconds"] for line in file.read()] == [0.75] * 5
    path.unlink()
    assert file.read() == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[1]",
        b"3",
        b'{"loss": 1}',
        b'{"epoch": "1"}',
        b'{"epoch": true}',
        b'{"epoch": 0}',
        b'{"epoch": 1' + b"0" * 400 + b"}",
        b"[" * 9999,
        b"\xff\xfe",
    ],
)
def test_what_is_no_epoch_is_skipped(line: bytes, tmp_path: Path) -> None:
    assert read_epoch(line) is None
    (tmp_path / "metrics.jsonl").write_bytes(line + b"\n" + CONTENT)
    assert MetricsFile(tmp_path / "metrics.jsonl").read() == LINES


def test_numbers_that_are_not_finite_are_not_known() -> None:
    line = read_epoch(b'{"epoch": 1, "loss": NaN, "train": 1e999, "solves": {"max_residual": Infinity, "solves": 2}}')
    assert line == {"epoch": 1, "loss": None, "train": float("inf"), "solves": {"max_residual": None, "solves": 2}}
    assert column([line], "loss") == column([line], "train") == ([], [])
