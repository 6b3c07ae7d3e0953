"""Sizes, times, scores and names as people read them."""

from __future__ import annotations

LONGEST_NAME = 120
"""Characters of a name of the user's that are shown."""


def bytes_text(count: float) -> str:
    """Return a size with its unit, in powers of 1000: 1,500,000 -> "1.5 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def seconds_text(seconds: float | None) -> str:
    """Return a duration: 0.0123 -> "12 ms", 75 -> "1:15", 4000 -> "1:06:40"; "-" if it is not known."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def score_text(score: float | None) -> str:
    """Return a score with four digits, or "-"."""
    return "-" if score is None else f"{score:.4f}"


def clean(text: object, longest: int | None = None) -> str:
    """Return a text of the user's without control codes and what would turn the direction of writing; longer ones are cut.

    The result may still have characters that mean something in HTML or in a terminal's markup.
    """
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))
    return shown if longest is None or len(shown) <= longest else f"{shown[: longest - 1]}…"


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` characters, cut in its middle if it must be: names often differ at their ends."""
    if len(text) <= most:
        return text
    head = max(0, most - 1) // 2
    return f"{text[:head]}…{text[len(text) - max(0, most - 1 - head) :]}"
