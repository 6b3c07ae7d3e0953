"""How many cases the suite draws, and that its worker sees crashes and hangs."""

from __future__ import annotations

import ctypes
import importlib
import time
from pathlib import Path

import pytest

from tests.properties import laws, process
from tests.properties.laws import expect
from tests.properties.process import Worker


class ready:
    """Nothing: the first case starts the worker."""

    @staticmethod
    def body() -> None: ...
