"""Scores of a trained run."""

from __future__ import annotations

from pathlib import Path

import pytest

from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.saved_run import LoadOptions


def test_views_and_parts_can_be_changed(run: Path) -> None:
    own, whole, many = evaluate_run(run), evaluate_run(run, LoadOptions(parts=1)), evaluate_run(run, LoadOptions(views=5, parts=3))
    assert (own["views"], own["parts"]) == (2, 2)
    assert (many["views"], many["parts"]) == (5, 3)
    assert len({own["test"], whole["test"], many["test"]}) == 3
    with pytest.raises(ValueError, match=r"evaluation\.views"):
        evaluate_run(run, LoadOptions(views=0))
