"""`torch.compile` on what users put into a reversible stack."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from benchmarks import compiled_blocks
from benchmarks.networks import Shape
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.stack import Backprop, Reversible

needs_compiler = pytest.mark.skipif(
    compiled_blocks.cxx_compiler() is None, reason="torch.compile needs a C++ compiler; there is none"
)
SHAPE = Shape(channels=16, groups=2, depth=3)


@pytest.fixture(autouse=True)
def _compile_anew():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain torch", "GENConv"])
def test_reversing_compiled_blocks_is_exact(kind: str):
    """To the last bit: the gradients of storing the same compiled blocks, input included."""
    graph = proteins_shaped(60, 400)
    found = []
    for gradient in (Reversible(), Backprop()):
        h = torch.randn(60, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        stack = compiled_blocks.make_stack(SHAPE, kind, graph, compiled=True, gradient=gradient)
        out = stack(h, graph, graph.edge_attr)
        out.square().sum().backward()
        found.append([out.detach(), h.grad, *(p.grad for p in stack.parameters())])
    assert len(found[0]) > 2
    for ours, stored in zip(*found, strict=True):
        assert ours is not None
        assert torch.equal(ours, stored)


def test_blocks_really_are_compiled():
    graph = proteins_shaped(60, 400)
    counter = CompileCounterWithBackend("eager")
    stack = compiled_blocks.make_stack(SHAPE, "plain torch", graph, compiled=False, gradient=Reversible())
    for layer in stack.layers:
        for block in layer.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            block.compile(backend=counter)
    compiled_blocks.make_step(stack, graph, torch.randn(60, 16))()
    assert counter.frame_count >= 1
    assert counter.op_count >= 5


@needs_compiler
@pytest.mark.slow
def test_benchmark(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("compile", "--quick") == 0
    (result,) = bench.lines("compile")
    assert set(result["times_faster"]) == set(compiled_blocks.KINDS)
    assert {len(s) for s in result["seconds"].values()} == {2}
    assert "compiling is faster by" in capsys.readouterr().out


def test_a_wrong_gradient_prints_no_figures(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def wrong(stack, *_: object) -> dict[str, torch.Tensor]:
        return {"weight": torch.ones(3) * (1 + 1e-6 if isinstance(stack.gradient, Reversible) else 1)}

    monkeypatch.setattr(compiled_blocks, "cxx_compiler", lambda: "g++")
    monkeypatch.setattr(compiled_blocks, "gradients", wrong)
    assert bench("compile", "--quick") == 1
    assert "reversing compiled blocks does not give the gradient" in capsys.readouterr().err
    assert not bench.folder.exists()


def test_without_a_compiler_it_says_so(bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiled_blocks, "cxx_compiler", lambda: None)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        bench("compile", "--quick")
