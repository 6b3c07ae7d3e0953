"""Compiles every Triton kernel for a GPU, which need not be there. For a process of its own, in which Triton does not interpret."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.ops.aggregate import contract as aggregation
from revgnn.ops.aggregate.reducers import from_text
from revgnn.ops.edge_softmax import contract as softmax
from revgnn.ops.norm_relu import contract as norm
from revgnn.ops.perceptron import contract as mlp
from revgnn.ops.propagate import contract as propagation

SHARED = 99 * 1024
"""Bytes that a program may have on any GPU from sm_80 on; on 8.0 and 9.0 themselves there are more."""

POINTERS = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


def compile_all(capability: int) -> int:
    """How many kernels were compiled for this compute capability (90 is 9.0); whatever the compiler refuses is raised."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    compiled: set[Any] = set()

    def compile_instead(
        kernel: Any, grid: Any, like: Tensor, warps: int, *arguments: Any, contract: bool = True, **constants: Any
    ) -> None:
        """In place of `launch`: sees the same arguments, and specialises on them as a launch would."""
        names = [p.name for p in kernel.params]
        given = dict(zip(names, arguments, strict=False)) | constants
        fixed = {p.name for p in kernel.params if p.is_constexpr}
        types, known, hints = {}, {name: given[name] for name in names if name in fixed}, {}
        for n, name in enumerate(names):
            if name in fixed:
                continue
            value = given[name]
            if isinstance(value, Tensor):
                types[name], hints[(n,)] = POINTERS[value.dtype], [["tt.divisibility", 16]]
            elif value == 1:
                known[name] = 1
            else:
                types[name] = "i32"
                if value % 16 == 0:
                    hints[(n,)] = [["tt.divisibility", 16]]
        types |= dict.fromkeys(known, "constexpr")
        signature = {p.name: types[p.name] for p in kernel.params}
        key = (kernel.fn.__name__, *signature.items(), *known.items(), *hints)
        if key not in compiled:
            source = ASTSource(kernel, signature, known, hints)
            built = compile(
                source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, "enable_fp_fusion": contract}
            )
            assert built.asm["cubin"]
            assert built.metadata.shared <= SHARED, f"{kernel.fn.__name__} wants {built.metadata.shared} bytes of shared memory"
            compiled.add(key)

    ops = {name: importlib.import_module(f"revgnn.ops.{name}.gpu") for name in OPERATORS}
    shared = [importlib.import_module(f"revgnn.kernels.gpu.{name}") for name in ("split_rows", "column_sums")]
    for module in (*ops.values(), *shared):
        if "launch" in vars(module):
            vars(module)["launch"] = compile_instead
    _call_all(**ops)
    return len(compiled)


OPERATORS = ("aggregate", "propagate", "edge_softmax", "grid", "norm_relu", "perceptron")


def _call_all(aggregate: Any, propagate: Any, edge_softmax: Any, grid: Any, norm_relu: Any, perceptron: Any) -> None:
    """Call the kernels of every operator on uninitialised memory; only what is launched matters."""
    graph = Graph.from_edge_index(torch.randint(0, 9, (2, 600)), 10)
    structure, by_source = (graph.indptr, graph.src), tuple(graph.by_source)
    wide, narrow, unlimited = (32, 8, torch.float32), (7, 3, torch.float64), (float("-inf"), float("inf"))
    kinds = ("max", "sum", "mean", "softmax", "softmax-semigrad", "power")
    for channels, features, dtype, kind, clamp in [
        *((*wide, kind, unlimited) for kind in kinds),
        *((*narrow, kind, unlimited) for kind in ("max", "softmax", "power")),
        (1, 1, torch.float32, "sum", unlimited),
        (224, 0, torch.float32, "max", unlimited),
        (40, 20, torch.float32, "power", (1e-7, 10.0)),
    ]:
        x, a = torch.empty(10, channels, dtype=dtype), torch.empty(600, features, dtype=dtype)
        edges = (a, torch.empty(features, channels, dtype=dtype)) if features else (None, None)
        message = (*edges, torch.empty(channels, dtype=dtype))
        inputs = aggregation.Inputs(x, *message, None, *structure, *by_source)
        spec = aggregation.Spec(from_text(f"{kind} 1.0 {clamp[0]} {clamp[1]}"), 1e-7, wanted=("x", "edge_attr", "weight"))
        _, saved = aggregate.forward(inputs, spec)
        aggregate.backward(x, inputs, saved, spec)
    for heads, channels, dtype in ((1, 32, torch.float32), (3, 250, torch.float32), (2, 7, torch.float64)):
        x, weight = torch.empty(10, heads, channels, dtype=dtype), torch.empty(600, heads, dtype=dtype)
        for w in (None, weight):
            inputs = propagation.Inputs(x, w, *structure, *by_source)
            spec = propagation.Spec(True, wanted=("x",) if w is None else ("x", "weight"))
            propagate.forward(inputs, spec)
            propagate.backward(x, inputs, propagation.Saved(), spec)
        scores = softmax.Inputs(weight, graph.indptr)
        edge_softmax.backward(weight, scores, edge_softmax.forward(scores, softmax.Spec())[1], softmax.Spec())
    for dtype, bits in ((torch.float32, 14), (torch.float64, 40), (torch.float32, None)):
        for change in (torch.empty(100, dtype=dtype), torch.empty(100, dtype=torch.bfloat16)):
            grid.advance(torch.empty(100, dtype=dtype), change, bits, 1.0)
    for channels, dtype in ((1, torch.float32), (40, torch.bfloat16), (448, torch.float64), (4096, torch.float32)):
        x, w = torch.empty(20, channels, dtype=dtype), torch.empty(channels)
        for mask in (None, torch.empty(20, channels)):
            inputs, spec = norm.Inputs(x, w, w, mask), norm.Spec(1e-5)
            norm_relu.backward(x, inputs, norm_relu.forward(inputs, spec)[1], spec)
    for rows, widths, dtype in (
        (1, (5, 7, 3), torch.float32),
        *((13_253, (channels, 2 * channels, channels), torch.float32) for channels in (32, 40, 56, 112)),
        (13_253, (256, 256, 256), torch.float32),
        *((700, widths, torch.float64) for widths in ((5, 7, 3), (32, 64, 32), (128, 128, 128))),
    ):
        channels, hidden, width = widths
        x, grad, *layer = (
            torch.empty(shape, dtype=dtype)
            for shape in ((rows, channels), (rows, width), (hidden, channels), *[(hidden,)] * 3, (width, hidden), (width,))
        )
        inputs, spec = mlp.Inputs(x, *layer), mlp.Spec(1e-5)
        perceptron.forward(inputs, spec)
        perceptron.backward(grad, inputs, mlp.Saved(), spec)
