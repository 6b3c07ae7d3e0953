"""Elements of HTML and SVG whose text is always escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from revgnn._text import clean


def element(name: str, children: object = (), /, **attributes: object) -> Markup:
    """Return an element. Texts in it are escaped; what is `Markup` already is not.

    Args:
        name: of the element.
        children: a text, or several texts and elements.
        attributes: by name, `_` for `-`, one at the end is dropped (`class_`). None and False leave one out, True gives no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-") if key != "viewBox" else key
        words.append(key if value is True else f'{key}="{_attribute(value)}"')
    inside = join(children if isinstance(children, Iterable) and not isinstance(children, str) else [children])
    if not inside and name in _EMPTY:
        return Markup(f"<{' '.join(words)}/>")
    return Markup(f"<{' '.join(words)}>{inside}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Return parts one after the other, escaped unless they are `Markup`."""
    return Markup(between).join(part if isinstance(part, Markup) else escape(clean(part)) for part in parts)


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(escape(clean(value)))


_EMPTY = {"path", "line", "rect", "circle", "polygon", "polyline", "meta", "link", "br"}
