"""`graph.yaml`: how each column of the tables is understood. The first run writes it; users change it; later runs obey it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from revgnn.data.tables.files import SPEC_NAME
from revgnn.data.tasks import TASK_SETTINGS
from revgnn.files import write_text

NODE_KINDS = ("id", "label", "split", "graph", "numeric", "categorical", "boolean", "date", "ignored")
GRAPH_KINDS = ("id", "label", "split", "ignored")
EDGE_KINDS = ("source", "target", "label", "numeric", "categorical", "boolean", "date", "ignored")
FEATURE_KINDS = ("numeric", "categorical", "boolean", "date")

DEFAULT_RATIOS = (0.6, 0.2, 0.2)

_KEYS = ("nodes", "edges", "graphs", "directed", "split", "label_separator", "task")
_TABLE_KEYS = ("file", "columns")
_SPLIT_KEYS = ("ratios", "stratify", "time")


class SpecError(ValueError):
    """A `graph.yaml` that cannot be used."""


@dataclass(frozen=True)
class Kind:
    """How one column is used.

    Attributes:
        name: one of `NODE_KINDS` or `EDGE_KINDS`.
        form: for dates that are not ISO: a format of `strptime`; else "".
        note: what was found in the column, or why it is ignored. A comment without effect.
    """

    name: str
    form: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.form}".strip()


@dataclass(frozen=True)
class SplitRule:
    """How nodes are split if no column says so.

    Attributes:
        ratios: shares of training, validation and test nodes; they sum to 1.
        stratify: cut each class by the ratios, instead of all nodes together.
        time: the column of dates or numbers by which nodes are ordered: the earliest are for training; "" for a random split.
    """

    ratios: tuple[float, float, float] = DEFAULT_RATIOS
    stratify: bool = False
    time: str = ""


@dataclass(frozen=True)
class GraphSpec:
    """How two tables make a data set: the content of `graph.yaml`.

    Attributes:
        nodes_file, edges_file: names of the tables, relative to the folder of `graph.yaml`.
        nodes, edges: the kind of each column.
        directed: False: each edge is used in both directions.
        split: used if no column of the nodes has the kind `split`.
        label_separator: what separates several labels in one cell; "" if each cell holds one.
        task: what the labels are: one of `TASK_SETTINGS`; "": as they look.
        graphs_file: name of the table of graphs, if labels are those of graphs; else "".
        graphs: the kind of each of its columns.
    """

    nodes_file: str
    edges_file: str
    nodes: Mapping[str, Kind]
    edges: Mapping[str, Kind]
    directed: bool = False
    split: SplitRule = SplitRule()
    label_separator: str = ""
    task: str = ""
    graphs_file: str = ""
    graphs: Mapping[str, Kind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_roles(self.nodes, "nodes", required=("id",), single=("id", "split"))
        _check_roles(self.edges, "edges", required=("source", "target"), single=("source", "target"))
        if self.graphs:
            _check_roles(self.graphs, "graphs", required=("id",), single=("id", "split"))
            _check_roles(self.nodes, "nodes", required=("graph",), single=("graph",))
            if wrong := [name for name, kind in self.nodes.items() if kind.name in ("label", "split")]:
                raise SpecError(f"nodes: {wrong[0]} cannot be {self.nodes[wrong[0]]}, since labels and splits are those of graphs.")

    def columns(self, kind: str) -> list[str]:
        """Return the names of the node columns of a kind; labels and split are those of the graphs if there is such a table.

        With `task: edges` labels are columns of the edges.
        """
        if self.task == "edges" and kind == "label":
            return [name for name, found in self.edges.items() if found.name == kind]
        table = self.graphs if self.graphs and kind in ("label", "split") else self.nodes
        return [name for name, found in table.items() if found.name == kind]

    def edge_column(self, kind: str) -> str:
        """Return the name of the edge column `source` or `target`."""
        return next(name for name, found in self.edges.items() if found.name == kind)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `graph.yaml`, without comments. Keys of later versions are left out if they say nothing."""
        graphs = {"file": self.graphs_file, "columns": {name: str(kind) for name, kind in self.graphs.items()}}
        return {
            "nodes": {"file": self.nodes_file, "columns": {name: str(kind) for name, kind in self.nodes.items()}},
            "edges": {"file": self.edges_file, "columns": {name: str(kind) for name, kind in self.edges.items()}},
            **({"graphs": graphs} if self.graphs else {}),
            "directed": self.directed,
            "split": {"ratios": list(self.split.ratios), "stratify": self.split.stratify, "time": self.split.time or None},
            "label_separator": self.label_separator or None,
            **({"task": self.task} if self.task else {}),
        }

    def to_yaml(self) -> str:
        """Return the text of `graph.yaml`, with a comment for each column."""
        node_kinds, edge_kinds = ", ".join(NODE_KINDS), ", ".join(EDGE_KINDS)
        lines = [
            "# How revgnn understands these tables. Change it, and later runs follow; delete it, and the next run writes it again.",
            f"# Kinds of node columns: {node_kinds}.",
            f"# Kinds of edge columns: {edge_kinds}.",
            '# A date that is not written 2024-12-31 needs its format: "date %d.%m.%Y".',
        ]
        tables = [("nodes", self.nodes_file, self.nodes), ("edges", self.edges_file, self.edges)]
        if self.graphs:
            lines.insert(3, f"# Kinds of graph columns: {', '.join(GRAPH_KINDS)}.")
            tables.append(("graphs", self.graphs_file, self.graphs))
        for table, file, columns in tables:
            entries = [(f"{_scalar(name)}: {_scalar(str(kind))}", kind.note) for name, kind in columns.items()]
            width = min(40, max(len(entry) for entry, _ in entries))
            lines += [f"{table}:", f"  file: {_scalar(file)}", "  columns:"]
            lines += [f"    {entry.ljust(width)}  # {note}" if note else f"    {entry}" for entry, note in entries]
        directed = "each edge is used from source to target only" if self.directed else "each edge is used in both directions"
        lines.append(f"directed: {str(self.directed).lower()}  # {directed}")
        if not self.columns("split"):
            lines += [
                "split:",
                f"  ratios: [{', '.join(map(str, self.split.ratios))}]  # training, validation, test",
                f"  stratify: {str(self.split.stratify).lower()}  # true: cut each class by the ratios",
                f"  time: {_scalar(self.split.time) if self.split.time else 'null'}  # a column: the earliest are for training",
            ]
        if self.label_separator:
            lines.append(f"label_separator: {_scalar(self.label_separator)}  # between several labels of one node")
        if self.task:
            lines.append(f"task: {self.task}  # what the labels are: {', '.join(TASK_SETTINGS)}")
        return "\n".join(lines) + "\n"


def read_spec(path: Path) -> GraphSpec:
    """Return the content of a `graph.yaml`.

    Raises:
        SpecError: one line, if it is not YAML, or a key or kind is unknown (with the nearest known one).
        OSError: if it cannot be read.
    """
    return parse_spec(_load(path), str(path))


def write_spec(spec: GraphSpec, path: Path, otherwise: Path) -> Path:
    """Write a `graph.yaml`, and return where: `path`, or the folder `otherwise` if `path` cannot be written.

    One that is there already stays as it is.
    """
    try:
        if not path.exists():
            write_text(path, spec.to_yaml())
        return path
    except OSError:
        copy = otherwise / SPEC_NAME
        if not copy.exists():
            nodes, edges = ((path.parent / name).resolve() for name in (spec.nodes_file, spec.edges_file))
            graphs = str((path.parent / spec.graphs_file).resolve()) if spec.graphs else ""
            write_text(copy, replace(spec, nodes_file=str(nodes), edges_file=str(edges), graphs_file=graphs).to_yaml())
        return copy


def named_files(path: Path) -> tuple[str, str]:
    """Return the names of the tables of nodes and edges that a `graph.yaml` names."""
    spec = read_spec(path)
    return spec.nodes_file, spec.edges_file


def parse_spec(values: Any, where: str) -> GraphSpec:
    """Return the description that nested dictionaries hold; `where` names their origin in messages."""
    values = _mapping(values, where, _KEYS)
    tables = {}
    given = {"nodes": NODE_KINDS, "edges": EDGE_KINDS} | ({"graphs": GRAPH_KINDS} if values.get("graphs") is not None else {})
    for table, kinds in given.items():
        section = _mapping(values.get(table), f"{where}: {table}", _TABLE_KEYS)
        file, columns = section.get("file"), section.get("columns")
        if not isinstance(file, str) or not isinstance(columns, dict) or not columns:
            raise SpecError(f"{where}: {table} needs a file and columns; delete the file to have it written again.")
        tables[table] = file, {str(name): parse_kind(kind, kinds, f"{where}: {table}.{name}") for name, kind in columns.items()}
    directed, separator = values.get("directed", False), values.get("label_separator") or ""
    if not isinstance(directed, bool) or not isinstance(separator, str):
        raise SpecError(f"{where}: directed must be true or false, and label_separator text, got {directed!r} and {separator!r}.")
    task = values.get("task") or ""
    if task and task not in TASK_SETTINGS:
        raise SpecError(f"{where}: task must be one of {', '.join(TASK_SETTINGS)}, or left out, got {task!r}.")
    rule = _split_rule(values.get("split") or {}, where)
    (nodes_file, nodes), (edges_file, edges) = tables["nodes"], tables["edges"]
    try:
        return GraphSpec(nodes_file, edges_file, nodes, edges, directed, rule, separator, task, *tables.get("graphs", ()))
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


def parse_kind(value: Any, kinds: tuple[str, ...], where: str) -> Kind:
    """Return the kind that a text such as `numeric` or `date %d.%m.%Y` names."""
    name, _, form = str(value).strip().partition(" ")
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        guess = f"did you mean {near[0]}?" if near else f"kinds are {', '.join(kinds)}."
        raise SpecError(f"{where}: unknown kind {name!r}; {guess}")
    if form and name != "date":
        raise SpecError(f"{where}: only dates have a format, got {str(value)!r}.")
    return Kind(name, form.strip())


def check_ratios(ratios: Any, where: str) -> tuple[float, float, float]:
    """Return three shares that sum to 1, or raise `SpecError`."""
    valid = isinstance(ratios, list | tuple) and len(ratios) == 3 and all(isinstance(r, int | float) for r in ratios)
    if not valid or min(ratios) < 0 or ratios[0] <= 0 or abs(sum(ratios) - 1) > 1e-6:
        raise SpecError(
            f"{where} must be three shares that sum to 1, for training, validation and test, such as 0.6,0.2,0.2; got {ratios}."
        )
    return (float(ratios[0]), float(ratios[1]), float(ratios[2]))


def _split_rule(values: Any, where: str) -> SplitRule:
    values = _mapping(values, f"{where}: split", _SPLIT_KEYS)
    stratify, time = values.get("stratify", False), values.get("time") or ""
    if not isinstance(stratify, bool) or not isinstance(time, str):
        raise SpecError(f"{where}: split.stratify must be true or false and split.time a column, got {stratify!r} and {time!r}.")
    return SplitRule(check_ratios(values.get("ratios", DEFAULT_RATIOS), f"{where}: split.ratios"), stratify, time)


def _mapping(values: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise SpecError(f"{where} must hold {', '.join(known)}; delete the file to have it written again.")
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise SpecError(f"{where}: unknown key {str(key)!r}; {f'did you mean {near[0]}?' if near else f'keys are {known}.'}")
    return values


def _check_roles(columns: Mapping[str, Kind], table: str, required: tuple[str, ...], single: tuple[str, ...]) -> None:
    for role in (*required, *single):
        found = [name for name, kind in columns.items() if kind.name == role]
        if len(found) > 1 and role in single:
            raise SpecError(f"{table}: {' and '.join(found)} are both {role}; one column can be.")
        if not found and role in required:
            raise SpecError(f"{table}: no column is the {role}; the columns are {', '.join(list(columns)[:20])}.")


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())[:200]}") from None


def _scalar(text: str) -> str:
    """Return text as YAML writes it, quoted if necessary."""
    written = yaml.safe_dump(text, allow_unicode=True, width=10**6).removesuffix("\n").removesuffix("\n...")
    # A text in several lines: in double quotes, as JSON writes it.
    return json.dumps(text) if "\n" in written else written
