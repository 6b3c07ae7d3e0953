"""What `import revgnn` offers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import revgnn

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", revgnn.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(revgnn, name) is not None
    assert name in dir(revgnn)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Grpah'"):
        _ = revgnn.Grpah


def test_the_package_alone_is_light() -> None:
    code = "import sys, revgnn, revgnn.models.config, revgnn.cli.app; assert 'torch' not in sys.modules, 'torch is loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the release ------------------------------------------------------------------------------------------------------


def test_one_version_everywhere() -> None:
    """In the package, in the changelog, whose newest release it is, and in the citation, with the same date."""
    newest = re.findall(
        r"^## \[(\d[^\]]*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )[0]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert newest == (revgnn.__version__, str(citation["date-released"]))
    assert str(citation["version"]) == revgnn.__version__


def test_types_are_shipped() -> None:
    assert (ROOT / "src" / "revgnn" / "py.typed").exists()
