"""How many processes, and the link between them."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Mode = Literal["parts", "graph", "layers", "weights"]

MODES: tuple[Mode, ...] = ("parts", "graph", "layers", "weights")
"""What may be spread over processes: the parts of a step, one graph, the layers of a network, its weights and moments."""

_RATE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kKmMgGtT]?)(i?)(B|b|bit)\s*(?:/\s*s|ps)")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s)")


class Link(NamedTuple):
    """What carries bytes between processes.

    Attributes:
        bytes_per_second: that each process can send, while it receives as many; all processes at once, whoever they send to.
        latency_seconds: from one process to another, before the first byte arrives.
    """

    bytes_per_second: float
    latency_seconds: float = 0.0

    def seconds(self, nbytes: float, messages: float = 1.0) -> float:
        """Return the seconds of so many bytes in so many messages, one after the other."""
        return messages * self.latency_seconds + nbytes / self.bytes_per_second


class Job(NamedTuple):
    """Several processes that train one run.

    Attributes:
        ranks: how many.
        link: between them; None: not known, so that exchanges have bytes and no seconds.
    """

    ranks: int
    link: Link | None = None


def parse_link(text: str) -> float:
    """Return the bytes a second that a text such as "300GB/s", "100Gbit/s" or "25 GiB/s" means.

    Raises:
        ValueError: for anything else.
    """
    found = _RATE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"the speed of a link is a number above 0 and a unit, such as 300GB/s or 100Gbit/s, got {text!r}.")
    number, prefix, binary, unit = found.groups()
    scale = (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " ")
    return float(number) * scale / (1 if unit == "B" else 8)


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as "5us" or "0.2 ms" means.

    Raises:
        ValueError: for anything else.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"a latency is a number and a unit: ns, us, ms or s, such as 5us, got {text!r}.")
    return float(found[1]) * {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]
