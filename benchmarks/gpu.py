"""Checks and figures of a machine with a GPU, within a few minutes: are the kernels right, and how fast is a step.

    python -m benchmarks gpu            # from the root of a checkout, with revgnn installed
    python benchmarks/gpu.py            # the same; revgnn need not be installed
    python benchmarks/gpu.py --dry-run  # the checks alone, in Triton's interpreter, without a GPU

First every kernel is compared with its definition, on the awkward graphs and a hub, in float32 and bfloat16, the perceptron at its
usual widths, while the tests marked `gpu` run in other processes. If a result is wrong, nothing is timed. Then a training step is
measured beside PyTorch Geometric's, in turns, both launched kernel by kernel and replayed as a CUDA graph; a few steps of
RevGNN-Deep and -Wide; and, while at least a minute is left, deep steps replayed beside the same steps launched. A part that fails
is reported, and the others are measured.

Needs torch, triton, torch-geometric and numpy, and what `revgnn` imports on every device: numba (graphs are sorted with it, and it
compiles the kernels of the CPU), scipy, scikit-learn, pydantic, pyyaml and safetensors; pytest for the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

if __name__ == "__main__":
    # run as a script, Python searches the folder of this file, whose `profile.py` would hide that of the standard library
    _ROOT = Path(__file__).resolve().parents[1]
    sys.path[:1] = [str(_ROOT / "src"), str(_ROOT)]

NEEDED = ("torch", "triton", "torch_geometric", "numpy", "numba", "scipy", "sklearn", "pydantic", "yaml", "safetensors")
LEAST_CAPTURE_SECONDS = 60.0
"""Deep replayed steps are measured if at least this much time is left."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    from benchmarks import harness

    parser = harness.make_parser("gpu", __doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="only check the kernels, in the interpreter on the CPU; so does --quick"
    )
    parser.add_argument("--repeats", type=int, default=10, help="timed rounds of the training step")
    parser.add_argument("--seconds", type=float, default=8 * 60.0, help="time for everything; the tests take what they take")
    return harness.parse(parser, argv, {"dry_run": True})


def main(argv: Sequence[str] | None = None) -> int:
    began = time.perf_counter()
    words = list(sys.argv[1:] if argv is None else argv)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"these packages are needed and missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    if {"--dry-run", "--quick"}.intersection(words):
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, so set before anything that may import it
    args = parse(words)
    import torch

    if not args.dry_run and not torch.cuda.is_available():
        print("there is no CUDA device; --dry-run checks the kernels without one", file=sys.stderr)
        return 2
    return run(args, torch.device("cpu" if args.dry_run else "cuda"), began)


def run(args: argparse.Namespace, device: torch.device, began: float) -> int:
    """Check, measure, and add the result. With --json, everything but the result is printed on stderr."""
    from benchmarks import harness
    from benchmarks.gpu_checks import Tests, check_kernels
    from benchmarks.gpu_steps import attempt, batch_on, measure_captured, measure_epochs, measure_steps

    reports = sys.stderr if args.json else sys.stdout
    with contextlib.redirect_stdout(reports):
        tests = None if args.dry_run else Tests()
        wrong = check_kernels(device, args.dry_run)
        if wrong:
            print("no figures, because the results are wrong:", *wrong, sep="\n", file=sys.stderr)
        else:
            print("every kernel agrees with its definition", flush=True)
        if tests is None:
            print("nothing was timed")
            return 1 if wrong else 0
        try:
            passed = tests.finish()
        except AssertionError as error:
            print(f"no figures: {error}", file=sys.stderr)
            return 1
        if wrong:
            return 1
    batch = batch_on(device)
    line = {"nodes": batch.graph.num_nodes, "edges": batch.graph.num_edges, "tests": passed, "dtype": "float32"}
    with harness.result_line("gpu", line, args, device) as result, contextlib.redirect_stdout(reports):
        result["steps"] = attempt("steps", lambda: measure_steps(batch, device, args.repeats))
        result["models"] = attempt("models", lambda: measure_epochs(batch, device, 45.0))
        # last, because an error during capture may leave the device unusable for this process
        left = args.seconds - (time.perf_counter() - began)
        if left > LEAST_CAPTURE_SECONDS:
            result["captured"] = measure_captured(batch, device, min(40.0, left / 5))
        else:
            print("deep replayed steps are not measured: no time is left", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
