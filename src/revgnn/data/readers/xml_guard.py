"""A look at an XML file before a library parses it: entities, nesting and the number of graphs."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from xml.parsers import expat

from revgnn.data.readers.text_file import open_text, size_limit, unreadable

MAX_DEPTH = 100

_BLOCK = 1 << 20


class _Refused(Exception):
    """Raised in a handler of the parser; the message gives the reason."""


def check_xml(path: Path, what: str) -> None:
    """Raise `ValueError` in one line unless a file is XML of one graph that is safe to parse.

    A document type may define entities, which grow without limit or name other files. No writer of graphs needs one, so that every
    file with a document type is refused, before anything that follows it is parsed. The whole file is then parsed once without
    keeping anything: its nesting, its size and its number of graphs are checked.

    Args:
        path: the file, plain or with the ending .gz.
        what: name of the format, for messages.
    """
    try:
        with open_text(path) as file:
            graphs = _scan(file, size_limit(path))
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    except _Refused as reason:
        raise ValueError(f"{path} is refused: {reason}.") from None
    except (expat.ExpatError, OSError, EOFError, zlib.error, LookupError, ValueError) as error:
        raise unreadable(path, what, error) from None
    if graphs != 1:
        raise ValueError(f"{path} holds {graphs} graphs (elements <graph>); a {what} file with one is needed.")


def _scan(file: Any, limit: int) -> int:
    """Return the number of graphs in a file of at most `limit` bytes."""
    depth = graphs = size = 0

    def refuse_document_type(*_: Any) -> None:
        raise _Refused("it has a document type (<!DOCTYPE ...>), which may define entities; remove that line")

    def start(name: str, _: Any) -> None:
        nonlocal depth, graphs
        depth += 1
        if depth > MAX_DEPTH:
            raise _Refused(f"its elements are nested more than {MAX_DEPTH} deep")
        graphs += name.rpartition(":")[2] == "graph"

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse_document_type
    parser.EntityDeclHandler = refuse_document_type
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    while block := file.read(_BLOCK):
        size += len(block)
        if size > limit:
            raise _Refused(f"it holds more than {limit >> 20:,} MB of text; save it as tables (docs/own-data.md)")
        parser.Parse(block, False)
    parser.Parse(b"", True)
    return graphs
