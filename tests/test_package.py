"""What `import revgnn` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import revgnn


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
