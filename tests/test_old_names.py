"""Names of earlier versions: they work, with a warning that says where to import from, or say what replaced them."""

from __future__ import annotations

import importlib
import sys

import pytest

import revgnn.stack


def test_gradients_is_an_old_name_of_three_rooms() -> None:
    sys.modules.pop("revgnn.gradients", None)
    with pytest.warns(DeprecationWarning, match=r"revgnn\.stack, equilibria from revgnn\.equilibrium.*revgnn\.capture"):
        gradients = importlib.import_module("revgnn.gradients")
    assert gradients.Reversible is revgnn.stack.Reversible
    assert all(hasattr(gradients, name) for name in gradients.__all__)
    with pytest.raises(AttributeError, match=r"no Solves any more; use revgnn\.equilibrium\.SolveStatistics"):
        _ = gradients.Solves
