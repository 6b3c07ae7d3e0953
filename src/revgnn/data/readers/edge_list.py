"""Edge lists: one edge a line, its two ends and what else there is, as SNAP, KONECT, Network Repository and networkx write them."""

from __future__ import annotations

import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgnn.data.readers.file_kind import describe_file
from revgnn.data.readers.format import Format
from revgnn.data.readers.networkx_graph import columns, ids
from revgnn.data.readers.text_file import check_size, open_text, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

    from revgnn.data.tables.contents import EdgeTable

MAX_LINE_BYTES = 1 << 20

_BLOCK = 8 << 20
_COMMENT = re.compile(rb"(?m)^[ \t]*[#%].*$")
_SPACES = re.compile(rb" {2,}")
_AROUND = re.compile(rb"(?m)^[ \t]+|[ \t\r]+$")
_COMMAS = re.compile(rb"[ \t]*,[ \t]*")
_NAMES = (
    ("source", "target"),
    ("src", "dst"),
    ("from", "to"),
    ("fromnodeid", "tonodeid"),
    ("node1", "node2"),
    ("node_1", "node_2"),
)
"""What a first line without `#` may name the ends. Such a line names all columns."""


def read_edge_list(path: Path) -> EdgeTable:
    """Return the edges of a file with a line for each, separated by spaces, tabs or a comma.

    Lines that begin with `#` or `%` are comments; one that says "directed" or "undirected" is obeyed, as in SNAP's files. Ids are
    whole numbers, or text as it is written. A third column is `weight`; further ones are `column_3`, `column_4` and so on.
    Attributes in braces, which networkx writes, become columns.

    Raises:
        ValueError: in one line, if a line has fewer or more cells than the first, or the file is not text.
    """
    try:
        comments, first = _head(path)
        if b"{" in first:
            edges = _read_braces(path)
        else:
            edges = _read_cells(path, first)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, FORMAT.name, error) from None
    from revgnn.data.tables.contents import EdgeTable

    return EdgeTable(edges, directed=_direction(comments, path))


def is_edge_list(path: Path) -> bool:
    """Return whether a text file begins with a line of two to ten cells, after comments."""
    try:
        _, first = _head(path)
    except (OSError, EOFError, zlib.error, ValueError):
        return False
    cells = _cells(first, b"," in first)
    return b"{" in first or 2 <= len(cells) <= 10


def _head(path: Path) -> tuple[list[bytes], bytes]:
    """Return the comments above the first edge, and its line."""
    comments: list[bytes] = []
    with open_text(path) as file:
        while line := file.readline(MAX_LINE_BYTES):
            if b"\0" in line or line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise ValueError(f"{path} cannot be read as an edge list: {describe_file(path)}")
            plain = line.removeprefix(b"\xef\xbb\xbf").strip()
            if plain and not plain.startswith((b"#", b"%")):
                return comments, plain
            if len(comments) < 100:
                comments.append(plain)
    raise ValueError(f"{path} has no edges; each line names the two ends of one.")


def _direction(comments: list[bytes], path: Path) -> bool | None:
    text = b" ".join(comments).lower()
    konect = re.match(rb"%\s*(sym|asym|bip)\b", text)
    if konect and konect[1] == b"bip":
        raise ValueError(
            f"{path} is a bipartite graph, whose two sides are numbered separately; write ids that differ, such as u1 and i1."
        )
    if b"undirected" in text or (konect and konect[1] == b"sym"):
        return False
    if re.search(rb"\bdirected\b", text) or konect:
        return True
    return None


def _cells(line: bytes, commas: bool) -> list[bytes]:
    return [cell.strip() for cell in line.split(b",")] if commas else line.split()


# --- cells --------------------------------------------------------------------------------------------------------------


def _read_cells(path: Path, first: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    commas = b"," in first
    cells = [cell.decode("utf-8", "replace") for cell in _cells(first, commas)]
    if len(cells) < 2:
        raise ValueError(f"{path}: a line must name the two ends of an edge, got {cells[0][:40]!r}.")
    named = tuple(cell.casefold() for cell in cells[:2]) in _NAMES
    names = ["source", "target", *(cells[2:] if named else _names_of_rest(len(cells)))]
    if len(set(names)) < len(names):
        raise ValueError(f"{path} has two columns of one name: {', '.join(names)[:100]}.")
    lines = io.BufferedReader(_Lines(path, commas), _BLOCK)
    try:
        table = pa_csv.read_csv(
            pa.PythonFile(lines, mode="r"),
            read_options=pa_csv.ReadOptions(column_names=names, skip_rows=int(named), block_size=_BLOCK),
            parse_options=pa_csv.ParseOptions(delimiter="," if commas else " ", quote_char=False),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as an edge list: {_bad_line(path, len(names), commas, str(error))}") from None
    for i in range(2):
        table = table.set_column(i, names[i], _whole_numbers(table.column(i)))
    return table


def _names_of_rest(count: int) -> list[str]:
    return ["weight"] if count == 3 else [f"column_{i}" for i in range(3, count + 1)]


class _Lines(io.RawIOBase):
    """The lines of a file without comments, cells separated by one space or one comma. Memory is bounded by a block."""

    def __init__(self, path: Path, commas: bool) -> None:
        self._blocks = self._clean(path, commas)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    @staticmethod
    def _clean(path: Path, commas: bool) -> Iterator[bytes]:
        rest = b""
        with open_text(path) as file:
            for number in itertools.count():
                block = file.read(_BLOCK)
                if number == 0:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                text, newline, tail = (rest + block).rpartition(b"\n") if block else (rest, b"", b"")
                if len(tail) > MAX_LINE_BYTES:
                    raise ValueError(f"{path}: a line is longer than {MAX_LINE_BYTES >> 20} MB; is this an edge list?")
                rest = tail
                text += newline
                if b"#" in text or b"%" in text:
                    text = _COMMENT.sub(b"", text)
                if text := _plain_cells(text, commas):
                    yield text
                if not block:
                    return


def _plain_cells(text: bytes, commas: bool) -> bytes:
    """Return whole lines with one comma, or one space, between cells and none around them."""
    text = text.replace(b"\r\n", b"\n")
    if commas:
        return _AROUND.sub(b"", _COMMAS.sub(b",", text))
    text = text.replace(b"\t", b" ")
    if b"  " in text:
        text = _SPACES.sub(b" ", text)
    return text.replace(b"\n ", b"\n").replace(b" \n", b"\n").strip(b" ")


def _bad_line(path: Path, count: int, commas: bool, reason: str) -> str:
    """Return what is wrong with the first line that has another number of cells; else what Arrow says."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            plain = line.strip()
            if plain and not plain.startswith((b"#", b"%")) and len(_cells(plain, commas)) != count:
                text = plain[:40].decode("utf-8", "replace")
                return f"line {number} has {len(_cells(plain, commas))} cells, but the first edge has {count} ({text!r}); mend it."
    return " ".join(reason.split())[:200]


def _whole_numbers(column: Any) -> Any:
    """Return a column of text as int64 if every cell is a whole number without leading zeros."""
    import pyarrow as pa

    from revgnn.data.tables.arrow import pc

    if not bool(pc.all(pc.match_substring_regex(column, r"^(0|-?[1-9][0-9]{0,17})$")).as_py()):
        return column
    return pc.cast(column, pa.int64())


# --- attributes in braces -----------------------------------------------------------------------------------------------


def _read_braces(path: Path) -> pa.Table:
    """Return the edges of a file of `networkx.write_edgelist`, with lines such as `a b {'weight': 2.0}`."""
    import networkx as nx
    import pyarrow as pa

    check_size(path)
    read: Callable[..., Any] = nx.read_edgelist
    try:
        graph = read(str(path), create_using=nx.MultiDiGraph)
    except (Exception, RecursionError) as error:  # attributes are literals of Python, which networkx parses and does not run
        raise unreadable(path, FORMAT.name, error) from None
    ends = [(source, target) for source, target in graph.edges()]
    both = ids([end for side in zip(*ends, strict=True) for end in side])
    table = {"source": both[: len(ends)], "target": both[len(ends) :]}
    table |= columns([data for _, _, data in graph.edges(data=True)], path, taken=("source", "target"))
    found = pa.table(table)
    for name in ("source", "target"):
        i = found.column_names.index(name)
        found = found.set_column(i, name, _whole_numbers(found.column(name)))
    return found


FORMAT = Format(
    name="edge list",
    endings=tuple(
        f"{ending}{zipped}"
        for ending in (".edges", ".edgelist", ".el", ".txt", ".snap", ".elist", ".wel")
        for zipped in ("", ".gz")
    ),
    holds="edges, with weights; SNAP's files",
    gives="edges",
    read=read_edge_list,
    fits=is_edge_list,
)
