"""`revgnn verify`: it passes here, and each of its checks fails if what it checks is broken."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from revgnn.cli.app import app
from revgnn.kernels import backends
from revgnn.ops.aggregate import cpu as aggregate_kernels
from revgnn.ops.grid import cpu as grid_kernels
from revgnn.ops.norm_relu import cpu as norm_kernels
from revgnn.testing.verify import Check, checked_device, checks, kernels, memory, verify
from revgnn.testing.verify import run as runner
from revgnn.testing.verify.compile_ahead import compile_kernels

CPU = torch.device("cpu")
CHECKS = {check.name: check for check in checks(CPU)}


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before, "verify leaves another number of threads"


def run(monkeypatch: pytest.MonkeyPatch, *names: str, options: tuple[str, ...] = ()) -> Result:
    """The command with these checks alone."""
    monkeypatch.setattr(runner, "checks", lambda device: [CHECKS[name] for name in names])
    return CliRunner().invoke(app, ["verify", "--device", "cpu", *options])


def rows(result: Result) -> list[str]:
    """The rows of the printed table."""
    lines = result.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("check"))
    return [line for line in lines[start + 1 :] if line.split()[-1:] and line.rstrip().endswith(("ok", "FAILED", "not claimed"))]


@pytest.mark.slow
def test_everything_is_right_here() -> None:
    result = CliRunner().invoke(app, ["verify", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    first, second, *_ = result.stdout.splitlines()
    assert f"torch {torch.__version__}" in first
    assert "numba" in first
    assert second.startswith("cpu: ")
    assert len(rows(result)) == len(CHECKS)
    assert not any("FAILED" in row for row in rows(result))


def test_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, "advance, retreat", options=("--json",))
    found = json.loads(result.stdout)
    assert found["torch_device"] == "cpu"
    assert found["packages"]["torch"] == torch.__version__
    assert [(check["name"], check["status"], check["worst"]) for check in found["checks"]] == [("advance, retreat", "ok", "0")]


# --- what is broken is seen -----------------------------------------------------------------------------------------------------


def a_value_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = norm_kernels.forward

    def wrong(inputs: Any, spec: Any) -> Any:
        out, saved = forward(inputs, spec)
        return out * (1 + 1e-5), saved

    monkeypatch.setattr(norm_kernels, "forward", wrong)


def a_gradient_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = norm_kernels.backward

    def wrong(*arguments: Any) -> Any:
        grads = backward(*arguments)
        return grads._replace(bias=grads.bias + 1e-4)

    monkeypatch.setattr(norm_kernels, "backward", wrong)


def a_kernel_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(inputs: Any, spec: Any) -> Any:
        raise RuntimeError("LLVM ERROR: cannot select")

    monkeypatch.setattr(norm_kernels, "forward", broken)


def unwritten_memory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = aggregate_kernels.forward

    def wrong(inputs: Any, spec: Any) -> Any:
        out, saved = forward(inputs, spec)
        out[-1:] = torch.empty_like(out[-1:])
        return out, saved

    monkeypatch.setattr(aggregate_kernels, "forward", wrong)


def sums_leave_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = grid_kernels.advance

    def wrong(state: Tensor, change: Tensor, bits: int | None, sign: float) -> Any:
        out, peaks = advance(state, change, bits, sign)
        return out + (1e-6 if sign < 0 else 0.0), peaks

    monkeypatch.setattr(grid_kernels, "advance", wrong)


def halves_are_computed_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    propagate = kernels.propagate
    rounded = lambda t, *args, **kwargs: propagate(t * t.new_tensor(1.001), *args, **kwargs)  # noqa: E731
    monkeypatch.setattr(kernels, "propagate", rounded)


def the_block_drops_its_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    from revgnn.ops import gen_block

    right = gen_block.kernels_of("cpu")

    class Wrong:
        backward = staticmethod(right.mlp.backward)

        @staticmethod
        def forward(inputs: Any, spec: Any) -> Any:
            return right.mlp.forward(inputs._replace(x=inputs.x * 0.5), spec)

    monkeypatch.setattr(gen_block, "kernels_of", lambda backend: right._replace(mlp=Wrong))


def blocks_draw_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    dropout = torch.nn.functional.dropout
    calls = []

    def wrong(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        calls.append(1)
        return dropout(x, p, training) * (1 + 1e-6 * len(calls))

    monkeypatch.setattr(torch.nn.functional, "dropout", wrong)


def layers_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    network = memory.network
    monkeypatch.setattr(memory, "network", lambda *args: network(*args, gradient="backprop"))


def messages_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    aggregate = memory.aggregate
    monkeypatch.setattr(memory, "aggregate", lambda *args, **kwargs: aggregate(*args, backend="reference", **kwargs))


def sums_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = norm_kernels.forward

    def wrong(inputs: Any, spec: Any) -> Any:
        out, saved = forward(inputs, spec)
        return out + 1e-7 * torch.get_num_threads(), saved

    monkeypatch.setattr(norm_kernels, "forward", wrong)


BROKEN: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = [
    (a_value_is_off, "norm_relu", "value at"),
    (a_gradient_is_off, "norm_relu", "gradient of bias"),
    (a_kernel_does_not_start, "norm_relu", "RuntimeError: LLVM ERROR"),
    (unwritten_memory_is_read, "aggregate sum", "value is nan"),
    (sums_leave_the_grid, "advance, retreat", "retreat in float32"),
    (halves_are_computed_in_half, "half precision", "propagate in bfloat16"),
    (the_block_drops_its_residual, "block in one piece", "output in float32"),
    (sums_leave_the_grid, "112 layers", "gave other values when they were evaluated again"),
    (sums_leave_the_grid, "112 layers, bf16", "gave other values when they were evaluated again"),
    (blocks_draw_other_numbers, "112 layers, any module", "gave other values when they were evaluated again"),
    (sums_leave_the_grid, "reconstruction", "the state before the first layer"),
    pytest.param(layers_are_stored, "flat memory", "memory grows with depth", marks=pytest.mark.slow),
    (messages_are_built, "no edge tensor", "a tensor of edges x channels"),
    (sums_depend_on_threads, "operators, threads", "norm_relu"),
]


@pytest.mark.parametrize(("breaks", "check", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_broken_is_seen(breaks: Any, check: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    result = run(monkeypatch, check)
    assert result.exit_code == 1, result.output
    (row,) = rows(result)
    assert row.startswith(check)
    assert row.rstrip().endswith("FAILED")
    explained = next(line for line in result.stdout.splitlines() if line.startswith(f"{check}: "))
    assert message in explained
    assert "What to do: " in explained
    assert result.stderr == "error: 1 of 1 checks failed.\n"


def test_every_check_is_among_those_that_were_broken() -> None:
    kernels = [name for name in CHECKS if name.startswith(("aggregate", "propagate", "edge_softmax", "perceptron"))]
    broken = [getattr(case, "values", case) for case in BROKEN]
    seen = {name for _, name, _ in broken} | set(kernels)  # kernels share one check
    assert {name for name, check in CHECKS.items() if check.claimed} == seen


def test_a_check_that_fails_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    a_kernel_does_not_start(monkeypatch)
    assert [row.split()[-1] for row in rows(run(monkeypatch, "norm_relu", "advance, retreat"))] == ["FAILED", "ok"]


def test_what_is_not_claimed_cannot_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    sums_depend_on_threads(monkeypatch)
    result = run(monkeypatch, "training step, threads")
    assert result.exit_code == 0
    assert rows(result)[0].rstrip().endswith("not claimed")
    assert "may depend on the number of threads" in result.stdout


# --- devices --------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not backends.has_triton(), reason="triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the next test runs the kernels themselves")
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy, in the interpreter
@pytest.mark.parametrize("name", ["aggregate max", "edge_softmax", "norm_relu", "advance, retreat"])
@pytest.mark.slow
def test_kernels_of_the_gpu_in_the_interpreter(name: str) -> None:
    (check,) = (check for check in checks(CPU, backend="gpu") if check.name == name)
    assert check.compared.startswith("gpu kernels")
    assert not check.run().wrong


@pytest.mark.gpu
def test_everything_is_right_on_the_gpu() -> None:
    found = list(verify("cuda"))
    assert [(f.name, f.message) for f in found if f.status != "ok"] == []


def test_a_gpu_without_triton_is_said_to_have_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "has_triton", lambda: False)
    monkeypatch.setattr(backends, "_warn_of_slow_path", lambda: None)
    first, *others = checks(torch.device("cuda"))
    assert not first.claimed
    assert "triton is not installed" in first.run().wrong
    assert [check.name for check in others][:1] == ["112 layers"]


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:77"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    result = CliRunner().invoke(app, ["verify", "--device", device])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    with pytest.raises(ValueError, match=device):
        checked_device(device)


@pytest.mark.parametrize(("processors", "started"), [(1, 0), (2, 1)])
def test_kernels_are_compiled_ahead_by_a_second_process(processors: int, started: int, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = []
    popen = subprocess.Popen

    def recorded(command: list[str], **settings: Any) -> Any:
        process = popen(command, **settings)
        if "compile_ahead" in str(command):  # others describe the machine
            processes.append(process)
        return process

    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(subprocess, "Popen", recorded)
    run(monkeypatch, "advance, retreat", "half precision")
    assert len(processes) == started
    assert all(process.poll() is not None for process in processes)


def test_what_is_compiled_ahead_is_what_the_checks_need(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    named = [check._replace(run=lambda name=check.name: order.append(name)) for check in kernels.kernel_checks(CPU, "cpu")]
    monkeypatch.setattr(kernels, "kernel_checks", lambda device, backend: named)
    compile_kernels()
    assert [check.name for check in named] == order[::-1]
    assert set(order) < set(CHECKS)


def test_checks_are_named_once() -> None:
    names = [check.name for check in checks(CPU)]
    assert len(names) == len(set(names))
    assert all(isinstance(check, Check) and (check.advice or not check.claimed) for check in CHECKS.values())
