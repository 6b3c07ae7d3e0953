"""Declared arguments, blocks of rows, and the threads that take them."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels.cpu import kernel as kernel_module
from revgnn.kernels.cpu.blocks import blocks, even_blocks, first_row
from revgnn.kernels.cpu.channels import tile
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, number, read, size, write
from revgnn.kernels.cpu.sources import modules_behind
from revgnn.ops import Mean, aggregate
from revgnn.testing import awkward_graphs


@pytest.fixture
def three_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def python_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(kernel_module, "_openmp", lambda: None)


def gradients() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    graph = Graph.from_edge_index(torch.randint(0, 900, (2, 80_000), generator=rng), 900, torch.rand(80_000, 3, generator=rng))
    leaves = [torch.randn(shape, generator=rng, requires_grad=True) for shape in ((900, 40), (3, 40))]
    out = aggregate(leaves[0], graph, graph.edge_attr, leaves[1], how=Mean())
    return [out, *torch.autograd.grad(out.square().sum(), leaves)]


@pytest.mark.usefixtures("three_threads")
def test_python_threads_give_the_bits_of_openmp(python_threads: Callable[[], None]) -> None:
    if kernel_module._openmp() is None:
        pytest.skip("torch does not run on GNU OpenMP here: Python threads are all there is")
    expected = gradients()
    python_threads()
    results = gradients()
    assert any("revgnn-kernel" in t.name for t in threading.enumerate())
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


@functools.cache
def counting_kernel() -> Kernel:
    @kernel(counts=write(np.int64, "blocks"))
    def count(args):
        for block in blocks(args):
            args.counts[block] += 1

    return count


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("openmp", [True, False])
def test_each_block_is_taken_once(openmp: bool, python_threads: Callable[[], None]) -> None:
    if not openmp:
        python_threads()
    counts = torch.zeros(10_000, dtype=torch.int64)
    counting_kernel()(counts.numel(), counts=counts)
    assert torch.equal(counts, torch.ones_like(counts))


@functools.cache
def scaling_kernel() -> Kernel:
    @kernel(
        count=size,
        x=read(np.float32, "count"),
        factor=number,
        out=write(np.float32, "count"),
        extra=read(np.float64, optional=True),
    )
    def scale(args):
        for _, begin, end in even_blocks(args, args.count):
            for n in range(begin, end):
                args.out[n] = args.x[n] * np.float32(args.factor)

    return scale


def test_arguments_go_by_name() -> None:
    x, out = torch.rand(100_000), torch.empty(100_000)
    scaling_kernel()(7, out=out, factor=2.5, x=x, count=100_000, extra=None)
    assert torch.equal(out, x * 2.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.rand(10, dtype=torch.float64)}, "kernel scale: argument 'x' must be .* torch.float32 .* got torch.float64"),
        ({"x": torch.rand(20)[::2]}, "argument 'x' must be a contiguous tensor .* not contiguous"),
        ({"x": torch.rand(9)}, "argument 'x' .* at least 10 elements, got .* with 9 elements"),
        ({"x": torch.rand(10, device="meta")}, "argument 'x' must be .* on the CPU .* on meta"),
        ({"x": None}, "argument 'x' must be .* got NoneType"),
        ({"out": np.zeros(10, np.float32)}, "argument 'out' must be .* got ndarray"),
        ({"extra": torch.rand(10)}, "argument 'extra' must be .* torch.float64"),
        ({"other": 1}, "scale.* unexpected keyword argument 'other'"),
    ],
    ids=["dtype", "layout", "length", "device", "None", "no tensor", "optional of another dtype", "unknown"],
)
def test_a_wrong_argument_is_named(changes: dict[str, Any], message: str) -> None:
    given = {"count": 10, "x": torch.rand(10), "factor": 1.0, "out": torch.empty(10), "extra": None}
    with pytest.raises(TypeError, match=message):
        scaling_kernel()(1, **(given | changes))


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(TypeError, match=r"scale\(\) missing .* 'out' and 'extra'"):
        scaling_kernel()(1, count=10, x=torch.rand(10), factor=1.0)


def test_a_fork_runs_kernels_on_one_thread() -> None:
    """The threads of the parent do not exist in the child: waiting for them would never end."""
    code = (
        "import os, torch; from revgnn.ops.grid import cpu\n"
        "x = torch.rand(200_000, 4); torch.set_num_threads(2); expected = cpu.advance(x, x, 14, 1.0)[0].numpy().tobytes()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    torch.set_num_threads(2); os._exit(0 if cpu.advance(x, x, 14, 1.0)[0].numpy().tobytes() == expected else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_the_cache_notices_a_change_in_an_imported_file(tmp_path: Path) -> None:
    """numba alone notices a change only in the file that the kernel stands in."""
    package = tmp_path / "package_with_kernel"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("FACTOR = 2.0\n")
    (package / "kernels.py").write_text(
        "import numpy as np, torch\n"
        "from package_with_kernel.helper import FACTOR\n"
        "from revgnn.kernels.cpu.kernel import kernel, size, write\n"
        "@kernel(count=size, out=write(np.float64, 'count'))\n"
        "def fill(args):\n"
        "    args.out[0] = FACTOR\n"
        "out = torch.zeros(1, dtype=torch.float64)\n"
        "fill(1, count=1, out=out)\n"
        "print(out.item(), fill._compiled.cache_hits)\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": paths}

    def run() -> str:
        command = [sys.executable, "-c", "import package_with_kernel.kernels"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert [run(), run()] == ["2.0 0", "2.0 1"]
    (package / "helper.py").write_text("FACTOR = 3.0\n")
    assert run() == "3.0 0"


def test_a_kernel_depends_on_the_sources_that_it_imports() -> None:
    modules = modules_behind("revgnn.ops.aggregate.cpu.linear")
    assert {"revgnn.ops.aggregate.cpu.message", "revgnn.kernels.cpu.blocks", "revgnn.kernels.cpu.simd.matrix"} <= modules
    assert not any(name.startswith(("revgnn.stack", "revgnn.models")) for name in modules)


def test_an_observer_hears_of_each_kernel_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float]] = []
    expected = gradients()
    monkeypatch.setattr(kernel_module, "observer", lambda *found: seen.append(found))
    observed = gradients()
    assert list(dict.fromkeys(name for name, _ in seen)) == ["sum_forward", "sum_backward_by_destination"]
    assert all(seconds > 0 for _, seconds in seen)
    assert all(torch.equal(a, b) for a, b in zip(observed, expected, strict=True))


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
@pytest.mark.parametrize("num", [1, 2, 3, 7, 64])
def test_blocks_cover_all_rows_in_order(named: Any, num: int) -> None:
    indptr, num_rows = named.graph.indptr.numpy(), named.graph.num_nodes
    begins = [first_row(indptr, num_rows, block, num) for block in range(num + 1)]
    assert begins[0] == 0
    assert begins[-1] == num_rows
    assert begins == sorted(begins)
    # none holds more than its share and one row: the row where the share ends belongs to one block
    largest = max(int(indptr[b] - indptr[a]) + b - a for a, b in itertools.pairwise(begins))
    heaviest = int(named.graph.in_degree.max()) + 1
    assert largest <= (named.graph.num_edges + num_rows) / num + heaviest


def test_blocks_follow_the_work_alone() -> None:
    assert [num_blocks(work) for work in (0, 1, 1 << 14, 1 << 16, 1 << 40)] == [1, 1, 1, 4, 256]


@pytest.mark.parametrize("channels", [1, 7, 40, 128, 129, 131, 200, 224, 256, 257, 1000])
def test_tiles_hold_all_channels_with_little_padding(channels: int) -> None:
    lanes, padded = tile(channels)
    assert padded % lanes == 0
    assert lanes <= 128
    assert channels <= padded < channels + lanes
    if channels > 128:
        assert lanes % 16 == 0
    else:
        assert (lanes, padded) == (channels, channels)
