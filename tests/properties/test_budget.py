"""How many cases the suite draws, and that its worker sees crashes and hangs."""

from __future__ import annotations


class ready:
    """Nothing: the first case starts the worker."""

    @staticmethod
    def body() -> None: ...
