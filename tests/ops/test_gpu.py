"""Properties of the Triton kernels beyond `test_backends.py`, which compares them with the reference.

On a machine with a GPU they are compiled and these tests are among those marked `gpu`. Elsewhere Triton's interpreter runs them on
the CPU, one program at a time, so graphs are tiny, and blocks of edges are short enough that hubs are split.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.kernels import backends
from revgnn.ops import Max, Mean, Softmax, aggregate, edge_softmax, grid, norm_relu, perceptron
from revgnn.ops.grid import reference as grid_reference
from revgnn.ops.norm_relu.contract import Inputs, Spec
from revgnn.testing.comparison import Leaves, assert_matches_reference
from revgnn.testing.operators import REDUCERS, call_perceptron, learns, perceptron_leaves, tangle
from revgnn.testing.operators import aggregate_leaves as inputs
from revgnn.testing.operators import aggregate_on as op_on

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
needs_triton = pytest.mark.skipif(not backends.has_triton(), reason="triton is not installed")
pytestmark = [pytest.mark.gpu] if CUDA else []
pytestmark.append(pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning"))  # NumPy, in the interpreter


def on_device(leaves: Leaves) -> Leaves:
    return {name: t.to(DEVICE) for name, t in leaves.items()}


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    if backends.has_triton():
        monkeypatch.setattr("revgnn.kernels.gpu.split_rows.SPLIT", 16)


# --- aggregate ---------------------------------------------------------------------------------------------------------------


@needs_triton
@pytest.mark.parametrize(("features", "channels"), [(0, 5), (1, 1), (21, 3), (2, 131)], ids=str)
@pytest.mark.parametrize("reducer", ["max", "mean"])
def test_aggregate_of_any_width(reducer: str, features: int, channels: int) -> None:
    """No features, more than are unrolled, more channels than a tile holds."""
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 0, 0], [1, 1, 1, 2, 0]]), 3).to(DEVICE)
    rng = torch.Generator().manual_seed(0)
    shapes = {"x": (3, channels), "edge_attr": (5, features), "weight": (features, channels), "bias": (channels,)}
    leaves = {name: torch.randn(shape, generator=rng, dtype=torch.float64) for name, shape in shapes.items()}
    assert_matches_reference(op_on(graph, reducer), on_device(leaves), dtype=torch.float32, backend="gpu")


@needs_triton
def test_first_of_equal_messages_wins_in_a_split_row_too() -> None:
    into = torch.arange(45).remainder(9)
    graph = Graph.from_edge_index(torch.stack([into, torch.full_like(into, 3)]), 9).to(DEVICE)
    x = torch.tensor([[1.0, 2.0, -1.0]], device=DEVICE).repeat(9, 1)
    x[0, 1], x[:4, 0], x[5, 0] = 0.0, 0.5, float("nan")
    grads = []
    for backend in ("gpu", "reference"):
        leaf = x.clone().requires_grad_()
        out = aggregate(leaf, graph, how=Max(), backend=backend)
        assert out[3, 0].isnan()
        assert out[3, 1:].tolist() == pytest.approx([2.0, 0.0], abs=1e-6)
        grads.append(torch.autograd.grad(out[3].sum(), leaf)[0])
    assert torch.equal(*grads)


@needs_triton
@pytest.mark.parametrize("reducer", ["sum", "max", "softmax", "power, learned"])
@pytest.mark.parametrize("special", [float("nan"), float("inf")])
def test_special_values_spread_as_in_torch(reducer: str, special: float) -> None:
    graph = tangle().to(DEVICE)
    leaves = on_device(inputs(graph, 7, edges=False, param=True))
    leaves["x"][3, 2] = leaves["x"][5, 5] = special
    with torch.no_grad():
        ours, reference = (op_on(graph, reducer)(leaves, backend) for backend in ("gpu", "reference"))
    assert torch.equal(ours.isnan(), reference.isnan())
    assert torch.equal(ours.isinf(), reference.isinf())
    assert not ours.isfinite().all()


@needs_triton
def test_half_precision_is_computed_in_float32_and_rounded_once() -> None:
    graph = tangle().to(DEVICE)
    leaves = {name: t.bfloat16() for name, t in on_device(inputs(graph, 40, edges=True, param=False)).items()}
    wide = {name: t.float() for name, t in leaves.items()}
    out, expected = (aggregate(**t, graph=graph, how=Mean(), backend="gpu") for t in (leaves, wide))
    assert torch.equal(out, expected.bfloat16())


# --- edge_softmax -------------------------------------------------------------------------------------------------------------


@needs_triton
def test_edge_softmax_of_absent_edges_and_nan() -> None:
    graph = tangle().to(DEVICE)
    scores = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    scores[::3] = float("-inf")
    scores[graph.dst == 0] = float("-inf")
    scores[59, 1] = float("nan")
    ours, reference = (edge_softmax(scores, graph, backend=backend) for backend in ("gpu", "reference"))
    torch.testing.assert_close(ours, reference, equal_nan=True)
    assert ours.isnan().any()


# --- grid, norm --------------------------------------------------------------------------------------------------------------


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [None, 0, 14, 40])
def test_sums_on_the_grid_equal_the_reference(bits: int | None, dtype: torch.dtype) -> None:
    gpu = importlib.import_module("revgnn.ops.grid.gpu")
    for size in (1, 1000, 9001):
        for scale in (1.0, 1e9):
            state, change = torch.randn(size, dtype=dtype, device=DEVICE), scale * torch.randn(size, dtype=dtype, device=DEVICE)
            change[0] = 0.5 / 2.0 ** (bits or 0)
            for sign in (1.0, -1.0):
                found, expected = (f(state, change, bits, sign) for f in (gpu.advance, grid_reference.advance))
                assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    half = change.bfloat16()
    assert torch.equal(gpu.advance(state, half, bits, 1.0)[0], grid_reference.advance(state, half, bits, 1.0)[0])
    for bad in (float("nan"), float("inf")):
        change[700] = bad
        assert not torch.isfinite(gpu.advance(state, change, bits, 1.0)[1])


@needs_triton
def test_norm_relu_of_half_precision_is_computed_in_float32() -> None:
    gpu = importlib.import_module("revgnn.ops.norm_relu.gpu")
    x, w, b = (torch.randn(shape, device=DEVICE) for shape in ((37, 40), (40,), (40,)))
    half, wide = (gpu.forward(Inputs(v, w, b, None), Spec(1e-5))[0] for v in (x.bfloat16(), x))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), wide, rtol=2.0**-7, atol=2.0**-5)


@needs_triton
def test_a_row_that_is_too_wide_is_refused() -> None:
    wide = torch.zeros(2, 4097, device=DEVICE)
    with pytest.raises(ValueError, match="up to 4096 channels, got 4097; use 'reference'"):
        norm_relu(wide, wide[0], wide[0], backend="gpu")


# --- perceptron --------------------------------------------------------------------------------------------------------------


@needs_triton
@pytest.mark.parametrize(
    ("rows", "widths", "dtype"),
    [
        (1, (5, 7, 3), torch.float32),
        (150, (5, 7, 3), torch.float32),
        (37, (20, 132, 12), torch.float32),
        (1, (5, 7, 3), torch.float64),
        (37, (17, 66, 33), torch.float64),
    ],
    ids=str,
)
def test_perceptron_of_any_width(rows: int, widths: tuple[int, int, int], dtype: torch.dtype) -> None:
    draws = (on_device(perceptron_leaves(rows, *widths, seed)) for seed in range(2))
    assert_matches_reference(call_perceptron, *draws, dtype=dtype, backend="gpu")


@needs_triton
@pytest.mark.parametrize("rows", [550, pytest.param(13_253, marks=pytest.mark.gpu)])
def test_perceptron_of_programs_that_take_several_turns(rows: int) -> None:
    """Each adds to what it has already written; the last program has fewer rows, and it all comes out the same a second time."""
    leaves = on_device(perceptron_leaves(rows, 32, 64, 32))
    assert_matches_reference(call_perceptron, leaves, dtype=torch.float32, backend="gpu")
    first, second = (_evaluate_in_float32(call_perceptron, leaves) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_triton
@pytest.mark.parametrize("special", [float("nan"), float("inf")])
def test_special_values_stay_in_their_row_of_a_perceptron(special: float) -> None:
    leaves = on_device({name: t.float() for name, t in perceptron_leaves(40, 8, 16, 8).items()})
    leaves["x"][7, 3] = special
    out = call_perceptron(leaves, "gpu")
    assert torch.equal(out.isnan(), call_perceptron(leaves, "reference").isnan())
    assert out[7].isnan().all()
    assert torch.isfinite(out[torch.arange(40) != 7]).all()
    leaves["x"] = leaves["x"][:0]
    assert call_perceptron(leaves, "gpu").shape == (0, 8)


@needs_triton
def test_perceptrons_that_are_too_wide_take_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_default", lambda device: "gpu")
    wide = on_device({name: t.float() for name, t in perceptron_leaves(5, 7, 4097, 7).items()}).values()
    assert torch.equal(perceptron(*wide), perceptron(*wide, backend="reference"))
    with pytest.raises(ValueError, match="gpu kernel takes widths up to 4096, got 7, 4097 and 7; use 'reference'"):
        perceptron(*wide, backend="gpu")
    odd = on_device({name: t.float() for name, t in perceptron_leaves(5, 7, 14, 7).items()}).values()
    assert torch.equal(perceptron(*odd), perceptron(*odd, backend="gpu"))


# --- which kernels run -------------------------------------------------------------------------------------------------------


def test_a_backend_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(backends, "has_triton", lambda: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert [backends.choose(None, d) for d in (cpu, cuda, torch.device("meta"))] == ["cpu", "gpu", "reference"]
    assert backends.choose("gpu", cpu) == "gpu"
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match=r"'gpu' works on CUDA tensors, and these are on cpu; .* start with TRITON_INTERPRET=1"):
        backends.choose("gpu", cpu)
    with pytest.raises(ValueError, match="'cpu' works on tensors of the CPU, and these are on cuda"):
        backends.choose("cpu", cuda)
    with pytest.raises(ValueError, match="unknown backend 'tpu'"):
        backends.choose("tpu", cpu)
    monkeypatch.setattr(backends, "has_triton", lambda: False)
    with pytest.raises(ValueError, match="needs triton, which is not installed"):
        backends.choose("gpu", cuda)
    backends._warn_of_slow_path.cache_clear()
    with pytest.warns(UserWarning, match="triton is not installed, so operators on CUDA run in plain torch") as said:
        assert [backends.choose(None, cuda) for _ in range(2)] == ["reference"] * 2
    assert len(said) == 1


def run_python(code: str, **environment: str) -> str:
    source = str(Path(backends.__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    paths = os.pathsep.join([source, str(Path(__file__).resolve().parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, "PYTHONPATH": paths, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_works_without_triton() -> None:
    code = """
import sys
sys.modules["triton"] = None
import torch, revgnn, revgnn.ops
from revgnn.kernels import backends
backends.has_triton = lambda: False
graph = revgnn.Graph.from_edge_index(torch.tensor([[0, 1], [1, 1]]), 2)
x = torch.ones(2, 3, requires_grad=True)
revgnn.ops.aggregate(x, graph, how=revgnn.ops.Mean()).sum().backward()
print(x.grad.sum().item())
"""
    assert float(run_python(code)) == 3.0


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_a_gpu_that_is_not_there(capability: int, tmp_path: Path) -> None:
    """The interpreter does not see what only the compiler refuses: types that change in a loop, shapes of another size."""
    code = f"from tests.ops.compile_gpu import compile_all; print(compile_all({capability}))"
    assert int(run_python(code, TRITON_CACHE_DIR=str(tmp_path))) > 40


# --- on a GPU only -----------------------------------------------------------------------------------------------------------


@needs_triton
@pytest.mark.gpu
@pytest.mark.parametrize("reducer", REDUCERS)
def test_a_hub_of_many_edges_on_the_gpu(reducer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revgnn.kernels.gpu.split_rows.SPLIT", 256)
    rng = torch.Generator().manual_seed(0)
    ends = (700 * torch.rand(2, 90_000, generator=rng) ** 2).long()
    ends[1, :40_000], ends[0, 40_000:60_000] = 3, 5
    graph = Graph.from_edge_index(ends, 700).to(DEVICE)
    leaves = on_device(inputs(graph, 40, edges=True, param=learns(reducer)))
    op = op_on(graph, reducer)
    assert_matches_reference(op, leaves, dtype=torch.float32, backend="gpu")
    first, second = (_evaluate_in_float32(op, leaves) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def _evaluate_in_float32(op: Callable[[Leaves, str], Tensor], leaves: Leaves) -> list[Tensor]:
    leaves = {name: t.float().requires_grad_() for name, t in leaves.items()}
    out = op(leaves, "gpu")
    return [out, *torch.autograd.grad(out.square().sum(), list(leaves.values()))]


@needs_triton
@pytest.mark.gpu
def test_gpu_is_the_default_on_cuda() -> None:
    graph = tangle().to(DEVICE)
    x = torch.randn(10, 40, device="cuda")
    for how in (Max(), Softmax(0.7)):
        assert torch.equal(aggregate(x, graph, how=how), aggregate(x, graph, how=how, backend="gpu"))
    layers = on_device({name: t.float() for name, t in perceptron_leaves(10, 40, 80, 40).items()}).values()
    assert torch.equal(perceptron(*layers), perceptron(*layers, backend="gpu"))
    state, change = torch.randn(10, 40, device="cuda"), torch.randn(10, 40, device="cuda")
    there, peak = grid.advance(state.mul(64).round().div(64), change, 14)
    assert torch.equal(grid.retreat(there, change, 14), state.mul(64).round().div(64))
    assert peak == there.abs().amax()


@needs_triton
@pytest.mark.parametrize("rows", [1, 7, 513, 1100])
def test_column_sums_are_rounded_once(rows: int) -> None:
    """One row, fewer than a program takes, and more than one level of sums."""
    from revgnn.kernels.gpu.column_sums import column_sums

    t = torch.randn(rows, 2, 5, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    assert torch.equal(column_sums(t), t.double().sum(0).float())


@needs_triton
def test_a_kernel_is_compiled_anew_for_what_it_was_not_compiled_for() -> None:
    """Triton assumes alignment, and divisibility by 16, where the first call had them."""
    from revgnn.kernels.gpu.launch import _trait

    t = torch.zeros(64)
    tensors = [t, t.double(), t[1:]]
    numbers = [1, 2, 16, 2**31, 2**31 + 1]
    assert len({_trait(value) for value in tensors}) == len(tensors)
    assert len({_trait(value) for value in numbers}) == len(numbers)
    assert _trait(t[4:]) == _trait(t)
    assert _trait(3) == _trait(5)
