"""`graph.yaml`: written with comments, read back as it was, obeyed; mistakes in it are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from revgnn.data import TableOptions
from revgnn.data.tables.dataset import read_tables
from revgnn.data.tables.files import find_tables
from revgnn.data.tables.spec import GraphSpec, SpecError, parse_spec, read_spec, write_spec
from tests.data.tables.conftest import NODES, Folder


def spec_of(folder: Path, options: TableOptions | None = None) -> GraphSpec:
    data = read_tables(find_tables(folder), options or TableOptions(labels=("plan",)))
    assert data.tables is not None
    return data.tables.stored.spec


def written(folder: Path) -> Path:
    return write_spec(spec_of(folder), folder / "graph.yaml", otherwise=folder)


def test_it_is_short_and_commented(folder: Folder) -> None:
    text = written(folder()).read_text()
    assert len(text.splitlines()) < 30
    assert text.startswith("# How revgnn understands these tables.")
    assert "    age: numeric       # 25 to 51\n" in text
    assert "directed: false  # each edge is used in both directions\n" in text


def test_it_is_read_back_as_it_was(folder: Folder) -> None:
    path = written(folder())
    assert read_spec(path).as_dict() == spec_of(path.parent).as_dict()
    assert read_spec(path).as_dict() == parse_spec(spec_of(path.parent).as_dict(), "x").as_dict()


@pytest.mark.parametrize(
    "name", ["on", "a: b", "#x", "007", "null", " space ", "ü", "- x", "line\nbreak", "{", "'", "1.5", "key: # no"]
)
def test_any_name_of_a_column(folder: Folder, name: str) -> None:
    path = written(folder({**NODES, name: list(range(8))}, ending=".parquet"))
    assert read_spec(path).nodes[name].name == "numeric"


def test_it_is_obeyed(folder: Folder) -> None:
    path = written(folder())
    path.write_text(path.read_text().replace("age: numeric", "age: ignored").replace("city: categorical", "city: ignored"))
    data = read_tables(find_tables(path.parent), TableOptions())
    assert data.tables is not None
    assert data.tables.stored.nodes == ()
    assert not data.tables.report.spec_is_new


def test_options_win_over_it(folder: Folder) -> None:
    path = written(folder())
    spec = spec_of(path.parent, TableOptions(labels=("city",), kinds={"age": "categorical", "edges.amount": "ignored"}))
    assert {name: kind.name for name, kind in spec.nodes.items()} == {
        "name": "id",
        "age": "categorical",
        "city": "label",
        "plan": "ignored",  # a former label is no feature
        "split": "split",
    }
    assert spec.edges["amount"].name == "ignored"


def test_a_place_that_cannot_be_written_to(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import revgnn.data.tables.spec as module

    path, run = folder(), tmp_path / "run"
    run.mkdir()
    spec, write_text = spec_of(path), module.write_text

    def refuse(target: Path, text: str) -> None:
        if target.parent == path:
            raise PermissionError(13, "read-only", str(target))
        write_text(target, text)

    monkeypatch.setattr(module, "write_text", refuse)
    assert write_spec(spec, path / "graph.yaml", otherwise=run) == run / "graph.yaml"
    files = find_tables(path, spec=run / "graph.yaml")
    assert files.nodes == path / "nodes.csv"
    assert read_tables(files, TableOptions()).num_nodes == 8


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("age: numeric", "age: numerical", "nodes.age: unknown kind 'numerical'; did you mean numeric?"),
        ("age: numeric", "age: numeric %d", "only dates have a format"),
        ("age: numeric", "agee: numeric", "has no column 'agee', which was numeric"),
        ("    age: numeric       # 25 to 51\n", "", "does not mention the column 'age' of nodes.csv; add `age: numeric`"),
        ("name: id", "name: ignored", "nodes: no column is the id"),
        ("age: numeric", "age: id", "nodes: name and age are both id"),
        ("directed: false", "direction: false", "unknown key 'direction'; did you mean directed?"),
        ("directed: false", "directed: maybe", "directed must be true or false"),
        ("file: nodes.csv", "file: other.csv", "there is no file"),
        ("nodes:", "nodes: [", "is not valid YAML"),
        ("nodes:", "nodes: !!python/object/apply:os.system ['touch x']\nmore:", "is not valid YAML"),
    ],
)
def test_mistakes(folder: Folder, before: str, after: str, message: str) -> None:
    path = written(folder())
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(ValueError, match=message.replace("?", r"\?").replace("[", r"\[")) as error:
        read_tables(find_tables(path.parent), TableOptions())
    assert len(str(error.value).splitlines()) == 1
    assert not Path("x").exists()


@pytest.mark.parametrize("ratios", ["[0.5, 0.5]", "[0.5, 0.6, 0.2]", "[0, 0.5, 0.5]", "[1.5, -0.5, 0]", "half"])
def test_bad_ratios(ratios: str) -> None:
    columns = {"columns": {"a": "id"}, "file": "nodes.csv"}
    edges = {"columns": {"a": "source", "b": "target"}, "file": "edges.csv"}
    values = {"nodes": columns, "edges": edges, "split": {"ratios": yaml.safe_load(ratios)}}
    with pytest.raises(SpecError, match="three shares that sum to 1"):
        parse_spec(values, "graph.yaml")
