"""Packages that import their names on first use."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import revgnn
import revgnn.interop
import revgnn.models
import revgnn.train

PACKAGES = [revgnn, revgnn.interop, revgnn.models, revgnn.train]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_every_export_is_found_and_listed(package: ModuleType) -> None:
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_every_lazy_name_is_an_export(package: ModuleType) -> None:
    assert {name for names in package._HOMES.values() for name in names} <= set(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nmae'"):
        _ = package.nmae


@pytest.mark.parametrize("name", ["revgnn.__version__", "revgnn.models.ModelConfig", "revgnn.train.RunConfig"])
def test_configurations_import_no_torch(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    code = f"from {module} import {attribute}; import sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
