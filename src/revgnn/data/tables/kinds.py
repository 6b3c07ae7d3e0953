"""Find out how each column can be used, from its name and its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from revgnn.data.tables.arrow import Column, is_date, is_list, is_number, is_text, pc, to_bool
from revgnn.data.tables.columns import ISO, booleans_of, dates_of, numbers_of, text_of
from revgnn.data.tables.ids import canonical, common_form, is_unique
from revgnn.data.tables.spec import Kind

MAX_CATEGORIES = 100
"""Categories of a column that the network tells apart; rarer ones share one input."""

_MOSTLY = 0.9
"""A column is numeric, or of dates, if at least this share of its values is. The others are then refused, not hidden."""

_LONG_TEXT = 60
_SAMPLE = 1000

_ID_NAMES = ("id", "node", "node_id", "nodeid", "key", "uid", "uuid")
LABEL_NAMES = ("label", "labels", "y", "target", "class", "targets", "classes")
_LABEL_PREFIXES = ("label_", "target_", "y_", "task_")
_SPLIT_NAMES = ("split", "set", "fold", "part", "subset")
_ENDS = (
    ("source", "target"),
    ("src", "dst"),
    ("from", "to"),
    ("head", "tail"),
    ("u", "v"),
    ("node1", "node2"),
    ("id1", "id2"),
    ("id_1", "id_2"),
)

SPLIT_WORDS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
"""What a split column may hold, in any letter case. Empty cells: nodes of no part."""

NO_PART = ("unused", "unlabelled", "unlabeled", "none")

_DATE_SHAPES = {"%Y/%m/%d": r"^\d{4}/", "%d.%m.%Y": r"^\d{1,2}\.\d{1,2}\.\d{4}$"}
_SLASHES = r"^\d{1,2}/\d{1,2}/\d{4}$"


def guess_nodes(table: pa.Table, edges: pa.Table, given: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the kind of each node column.

    Args:
        given: the kinds that the user named. If a label is among them, no other column becomes one.

    Raises:
        ValueError: if no column can be the id.
    """
    kinds = {name: kind for name, kind in given.items() if name in table.column_names}
    rest = [name for name in table.column_names if name not in kinds]
    given_names = {kind.name for kind in kinds.values()}
    if "id" not in given_names:
        kinds[_find_id(table.select(rest), edges)] = Kind("id")
    rest = [name for name in rest if name not in kinds]
    if "label" not in given_names:
        kinds |= dict.fromkeys(find_labels(rest), Kind("label"))
    if "split" not in given_names:
        split = [name for name in rest if name not in kinds and name.casefold() in _SPLIT_NAMES and is_split(table.column(name))]
        kinds |= dict.fromkeys(split[:1], Kind("split"))
    return {name: kinds[name] if name in kinds else guess(table.column(name)) for name in table.column_names}


def guess_edges(table: pa.Table, ids: Column, given: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the kind of each edge column.

    Args:
        ids: the ids of the nodes.
        given: the kinds that the user named.

    Raises:
        ValueError: if it is not clear which columns hold the two ends.
    """
    kinds = {name: kind for name, kind in given.items() if name in table.column_names}
    if not {"source", "target"} <= {kind.name for kind in kinds.values()}:
        source, target = _find_ends(table, ids)
        kinds = {source: Kind("source"), target: Kind("target")} | kinds
    return {name: kinds[name] if name in kinds else guess(table.column(name)) for name in table.column_names}


def guess(column: Column) -> Kind:
    """Return the kind of a column of features by its values, with a note on what was found."""
    if is_list(column) or pa.types.is_struct(column.type) or pa.types.is_binary(column.type):
        return Kind("ignored", note=f"{column.type} is not a feature")
    if pa.types.is_boolean(column.type):
        return Kind("boolean")
    if is_date(column):
        return Kind("date")
    if is_number(column):
        return _guess_numbers(column)
    if not is_text(column):
        return Kind("ignored", note=f"{column.type} is not a feature")
    text = text_of(column)
    known = len(text) - text.null_count
    if known == 0:
        return Kind("ignored", note="empty")
    if bool(pc.any(pc.match_substring_regex(text.slice(0, _SAMPLE), r"^[+-]?0\d+$")).as_py()):
        return _guess_text(text, known)  # 007 is a code
    numbers = numbers_of(text)
    if numbers.bad.sum() <= (1 - _MOSTLY) * known:
        return _guess_numbers(column, int(numbers.missing.sum()))
    if not booleans_of(text).bad.any() and len(text.unique()) - (text.null_count > 0) == 2:
        return Kind("boolean")
    return _guess_dates(text, known) or _guess_text(text, known)


def is_split(column: Column) -> bool:
    """Return whether a column names the part of each node: train, valid, test, or nothing."""
    if not is_text(column):
        return False
    known = {word for words in SPLIT_WORDS.values() for word in words} | set(NO_PART)
    found = pc.utf8_lower(text_of(column).drop_null()).unique()
    return 0 < len(found) <= len(known) and set(found.to_pylist()) <= known


def _guess_numbers(column: Column, missing: int = 0) -> Kind:
    values = numbers_of(column).numbers
    values = values[~np.isnan(values)]
    if not len(values):
        return Kind("ignored", note="empty")
    low, high = float(values.min()), float(values.max())
    if low == high and not missing and len(values) == len(column):
        return Kind("ignored", note=f"the same in all rows: {low:g}")
    return Kind("numeric", note=f"{low:g} to {high:g}")


def _guess_dates(text: Column, known: int) -> Kind | None:
    def fits(form: str) -> bool:
        return int(dates_of(text, form).bad.sum()) <= (1 - _MOSTLY) * known

    sample = text.drop_null().slice(0, _SAMPLE)

    def looks(pattern: str) -> bool:
        return float(np.mean(to_bool(pc.match_substring_regex(sample, pattern)))) >= _MOSTLY

    if looks(r"^\d{4}-\d{2}-\d{2}") and fits(ISO):
        return Kind("date")
    for form, shape in _DATE_SHAPES.items():
        if looks(shape) and fits(form):
            return Kind("date", form)
    if looks(_SLASHES):
        month_first, day_first = fits("%m/%d/%Y"), fits("%d/%m/%Y")
        if month_first != day_first:
            return Kind("date", "%m/%d/%Y" if month_first else "%d/%m/%Y")
        return Kind("ignored", note='dates: is the day or the month first? write "date %d/%m/%Y" or "date %m/%d/%Y"')
    return None


def _guess_text(text: Column, known: int) -> Kind:
    distinct = len(text.unique()) - (text.null_count > 0)
    if distinct == 1 and known == len(text):
        return Kind("ignored", note="the same in all rows")
    if bool(pc.all(pc.match_substring_regex(text.drop_null().slice(0, _SAMPLE), r"^[+-]?\d{1,3}([.,]\d+)+$")).as_py()):
        return Kind("ignored", note="numbers with a comma: a decimal or a thousand? write them with a point")
    if float(pc.mean(pc.utf8_length(text)).as_py()) > _LONG_TEXT:
        return Kind("ignored", note="long text")
    if distinct > MAX_CATEGORIES and 2 * distinct > known:
        return Kind("ignored", note=f"{distinct:,} different values in {known:,} rows: names or free text")
    rest = f", of which the {MAX_CATEGORIES} most frequent are told apart" if distinct > MAX_CATEGORIES else ""
    return Kind("categorical", note=f"{distinct:,} values{rest}")


# --- roles --------------------------------------------------------------------------------------------------------------


def find_labels(names: Sequence[str]) -> list[str]:
    """Return the columns that are named like labels."""
    by_lower = {name.casefold(): name for name in names}
    for candidate in LABEL_NAMES:
        if candidate in by_lower:
            return [by_lower[candidate]]
    return [name for lower, name in by_lower.items() if lower.startswith(_LABEL_PREFIXES)]


def _find_id(nodes: pa.Table, edges: pa.Table) -> str:
    """Return the column named like an id if there is one such column, else the one whose values the edges name."""
    usable = [name for name in nodes.column_names if _can_be_id(nodes.column(name))]
    named = [name for name in usable if name.casefold() in _ID_NAMES]
    if len(named) == 1:
        return named[0]

    def rank(name: str) -> tuple[float, bool]:
        overlaps = sorted((overlap(edges.column(end), nodes.column(name)) for end in edges.column_names), reverse=True)
        # A column of a few values, such as 0 and 1, may overlap by chance; a doubled id is refused later, with its row.
        return (round(sum(overlaps[:2]), 1), _is_unique(nodes.column(name)))

    ranks = {name: rank(name) for name in usable}
    best = max(ranks, key=lambda name: ranks[name], default=None)
    if best is None or (edges.num_rows and ranks[best][0] <= 0):
        raise ValueError(
            f"no column of the nodes ({', '.join(nodes.column_names[:20])}) holds the ids that the edges name; "
            "name it: --kind COLUMN=id."
        )
    return best


def _find_ends(edges: pa.Table, ids: Column) -> tuple[str, str]:
    by_lower = {name.casefold(): name for name in edges.column_names}
    for source, target in _ENDS:
        if source in by_lower and target in by_lower:
            return by_lower[source], by_lower[target]
    usable = [name for name in edges.column_names if _can_be_id(edges.column(name))]
    likely = [name for name in usable if overlap(edges.column(name), ids) > 0.5] if edges.num_rows else usable
    if len(likely) < 2:
        raise ValueError(
            f"it is not clear which columns of the edges ({', '.join(edges.column_names[:20])}) hold their two ends; "
            "name them source and target, or say so: --kind edges.COLUMN=source --kind edges.COLUMN=target."
        )
    return likely[0], likely[1]


def _can_be_id(column: Column) -> bool:
    return is_text(column) or is_number(column)


def _is_unique(column: Column) -> bool:
    try:
        return is_unique(canonical(column))
    except ValueError:
        return False


def overlap(ends: Column, ids: Column) -> float:
    """Return the share of a sample of ends that are ids."""
    sample = ends.slice(0, _SAMPLE).drop_null()
    if not len(sample):
        return 0.0
    try:
        ours, theirs = common_form(canonical(sample), canonical(ids))
    except ValueError:
        return 0.0
    return float(np.mean(to_bool(pc.is_in(ours, theirs.combine_chunks()))))
