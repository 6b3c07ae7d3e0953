"""The example of `ops/README.md` is an operator like any other."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import revgnn.ops
from revgnn.testing.comparison import Leaves, assert_matches_reference

README = Path(revgnn.ops.__file__).with_name("README.md")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The `api.py` of the example, written to a folder from which `revgnn.ops.scale_rows` is imported."""
    root = tmp_path_factory.mktemp("example")
    folder = root / "scale_rows"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        (folder / name).write_text(code, encoding="utf-8")
    revgnn.ops.__path__.append(str(root))
    try:
        yield importlib.import_module("revgnn.ops.scale_rows.api")
    finally:
        revgnn.ops.__path__.remove(str(root))


def leaves_of(rows: int, channels: int, seed: int) -> Leaves:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (rows, channels), "scale": (rows,)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_its_kernels_match_the_reference(api: Any, dtype: torch.dtype) -> None:
    def call(leaves: Leaves, backend: str) -> Tensor:
        return api.scale_rows(**leaves, offset=0.5, backend=backend)

    for rows, channels in ((1, 1), (200, 7), (50_000, 40)):
        assert_matches_reference(call, *(leaves_of(rows, channels, seed) for seed in range(4)), dtype=dtype)


def test_torch_accepts_it(api: Any) -> None:
    x, scale = (t.requires_grad_() for t in leaves_of(5, 7, 0).values())
    text = revgnn.ops.operator.encode(api.OPERATOR.signature, api.Spec(0.5, wanted=("x", "scale")))
    torch.library.opcheck(api.OPERATOR.registered, (x, scale, text, "cpu"))
    compiled = torch.compile(lambda x, scale: api.scale_rows(x.tanh(), scale), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, scale), api.scale_rows(x.tanh(), scale))


def test_its_checks(api: Any) -> None:
    assert torch.equal(api.scale_rows(torch.ones(2, 2000), torch.ones(2)), torch.ones(2, 2000))
    with pytest.raises(ValueError, match="up to 1024 channels, got 2000; use 'reference'"):
        api.scale_rows(torch.ones(2, 2000), torch.ones(2), backend="cpu")
    with pytest.raises(ValueError, match=r"scale must be torch.float32 of shape \(2,\)"):
        api.scale_rows(torch.ones(2, 3), torch.ones(3))
