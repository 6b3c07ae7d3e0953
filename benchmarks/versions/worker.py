"""Process that measures one version. It answers requests on stdin with one JSON line each on stdout.

    PYTHONPATH=CHECKOUT/src python -m benchmarks.versions.worker INPUTS

Started by `benchmarks.versions.process.Worker`. Of `benchmarks` it imports only the cases, because other modules need the newest
sources.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import Any

import torch
from torch import Tensor

import revgnn
from benchmarks.versions.cases import Case, Inputs, make_cases


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # anything that a version prints must not be taken for an answer
    graphs = {name: Inputs(**tensors) for name, tensors in torch.load(sys.argv[1], weights_only=True).items()}
    factories = make_cases(graphs)
    prepared: dict[str, Case] = {}
    print(json.dumps({"package": revgnn.__file__, "cases": list(factories)}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        name = request["case"]
        if name not in prepared:
            prepared[name] = factories[name]()
        answer = describe(prepared[name]) if request["do"] == "describe" else time_calls(prepared[name], request["calls"])
        print(json.dumps(answer), file=answers)


def describe(case: Case) -> dict[str, Any]:
    """Return digests of all results, peak memory, and the seconds of one call; compiles the kernels."""
    digests = {name: digest(tensor) for name, tensor in case.results().items()}
    peak = None if case.peak_bytes is None else case.peak_bytes()
    return {"digests": digests, "peak_bytes": peak, **time_calls(case, 1)}


def time_calls(case: Case, calls: int) -> dict[str, float]:
    """Return the mean seconds of some calls. One call before them, not timed, fills the caches again."""
    case.call()
    start = time.perf_counter()
    for _ in range(calls):
        case.call()
    return {"seconds": (time.perf_counter() - start) / calls}


def digest(tensor: Tensor) -> str:
    """Return a hash of dtype, shape and bits."""
    array = tensor.detach().contiguous().numpy()
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
