"""Sizes, times and scores as people read them."""

from __future__ import annotations


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
