"""Hostile files are refused in one line, with bounded memory; nothing in them is executed."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.readers.graphs import refuse

GRAPHML = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">{}</graph></graphml>'
GEXF = '<gexf xmlns="http://www.gexf.net/1.2draft" version="1.2"><graph><nodes>{}</nodes></graph></gexf>'
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "' + "ha" * 50 + '">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 100}">' for a, b in zip("abcdefg", "bcdefgh", strict=True))
    + "]>"
)  # fmt: skip
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(("ending", "text"), [("graphml", GRAPHML), ("gexf", GEXF)])
@pytest.mark.parametrize("head", [BOMB, EXTERNAL, '<!DOCTYPE graphml SYSTEM "http://host/x.dtd">'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_before_they_are_parsed(
    tmp_path: Path, ending: str, text: str, head: str, encoding: str
) -> None:
    path = tmp_path / f"a.{ending}"
    use = "&h;" if "ENTITY h" in head else "&x;" if "ENTITY x" in head else ""
    body = head + text.format(f'<node id="1" label="{use}"/>' if not use else f'<node id="1"><data key="d">{use}</data></node>')
    path.write_bytes(body.encode(encoding))
    assert "document type" in refuse(path)


@pytest.mark.parametrize(("ending", "text"), [("graphml", GRAPHML), ("gexf", GEXF)])
def test_xml_that_is_nested_deep_or_holds_several_graphs(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_text(text.format("<a>" * 100_000 + "</a>" * 100_000), encoding="utf-8")
    assert "nested more than 100 deep" in refuse(path)
    path.write_text(text.format('<node id="1"><graph></graph></node>'), encoding="utf-8")
    assert "holds 2 graphs" in refuse(path)
    path.write_text(text.format("<node"), encoding="utf-8")
    assert "cannot be read" in refuse(path)
    path.write_text("<a/>", encoding="utf-8")
    assert "holds 0 graphs" in refuse(path)


@pytest.mark.parametrize("name", ["a.graphml.gz", "a.gexf.gz", "a.gml.gz", "a.json.gz", "a.net.gz", "a.graph.gz"])
def test_a_packed_file_that_unpacks_to_more_than_text_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(GRAPHML.format(" " * (40 << 20)).encode()))
    assert re.search(r"holds more than \d\d MB of text", refuse(path))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gml", "graph [ " + "a [ " * 5000 + "]" * 5001, "nested too deep|cannot be read as GML"),
        ("a.gml", "graph [ node [ id 1 label ", "cannot be read as GML"),
        ("a.gml", 'graph [ node [ id 1 label "a" ] edge [ source 1 target 7 ] ]', "cannot be read as GML"),
        ("a.gml", "graph [ node [ id 1e999 ] ]", "cannot be read as GML"),
        ("a.json", "[" * 100_000, "nested too deep|cannot be read as node-link"),
        ("a.json", '{"nodes": 3, "links": []}', '"nodes" and "links" is needed'),
        ("a.json", '{"nodes": [], "links": 7}', 'no list "links"'),
        ("a.json", '{"nodes": [{"id": 1}, {"id": 1}], "links": []}', "ids must differ"),
        ("a.json", '{"nodes": [{"id": 1}], "links": [{"source": 1, "target": 2}]}', "only name listed nodes"),
        ("a.json", '{"nodes": [{"id": {"a": 1}}], "links": []}', "cannot be read as node-link"),
        ("a.net", "*Vertices 999999999999\n1 a\n", "cannot be read as Pajek"),
        ("a.net", "*Vertices 2\n1 a\n2 a\n*Edges\n1 2\n", "names must differ"),
        ("a.net", "*Vertices 2\n1 a\n2 b\n*Edges\n1 9\n", "only name listed vertices"),
        ("a.net", '*Vertices 1\n1 "a\n', "cannot be read as Pajek"),
        ("a.net", "nothing", "cannot be read as Pajek"),
    ],
)
def test_text_that_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert re.search(message, refuse(tmp_path / name))


def test_attributes_that_differ_from_node_to_node_do_not_fill_memory(tmp_path: Path) -> None:
    nodes = "".join(f'{{"id": {i}, "a{i}": 1}},' for i in range(3000)).rstrip(",")
    (tmp_path / "a.json").write_text(f'{{"nodes": [{nodes}], "links": []}}', encoding="utf-8")
    assert "3,000 different attributes" in refuse(tmp_path / "a.json")


@pytest.mark.parametrize("value", ["1e999", "-1e999", "99999999999999999999999999999999999999999999"])
def test_numbers_out_of_range_are_refused_with_their_row(tmp_path: Path, value: str) -> None:
    nodes = "".join(f'{{"id": {i}, "label": "{"ab"[i % 2]}", "size": {value if i == 3 else i + 0.5}}},' for i in range(10)).rstrip(
        ","
    )
    (tmp_path / "a.json").write_text(f'{{"nodes": [{nodes}], "links": []}}', encoding="utf-8")
    assert "size is" in refuse(tmp_path / "a.json")
    assert "row 4" in refuse(tmp_path / "a.json")


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Each file promises far more than it holds. All are read in a process with 1 GB beside what torch needs."""
    (tmp_path / "a.graphml").write_text(BOMB + GRAPHML.format("&h;"), encoding="utf-8")
    (tmp_path / "a.mtx").write_text("%%MatrixMarket matrix coordinate real general\n9 9 99999999999\n1 1 1\n", encoding="utf-8")
    (tmp_path / "b.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n1999999999 1999999999 1\n1 1 1\n", encoding="utf-8"
    )
    (tmp_path / "a.graph").write_text("99999999999 1\n2\n1\n", encoding="utf-8")
    (tmp_path / "a.net").write_text("*Vertices 99999999999\n", encoding="utf-8")
    (tmp_path / "a.edges").write_text("1 " + "2" * (4 << 20), encoding="utf-8")
    (tmp_path / "a.edges.gz").write_bytes(gzip.compress(b"1 " + b"2" * (64 << 20)))
    (tmp_path / "a.gml").write_text("graph [ " + "a [ " * 100_000, encoding="utf-8")
    code = f"""
import resource
from pathlib import Path
from revgnn.data import load
import pyarrow, networkx, scipy.io
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
for path in sorted(Path({str(tmp_path)!r}).iterdir()):
    try:
        load(str(path), cache=False)
    except ValueError as error:
        assert "MemoryError" not in str(error), error
        print("refused", path.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("refused") == 8, done.stdout
