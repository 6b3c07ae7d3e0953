"""A training step as one CUDA graph: recorded once, then replayed, so that the host launches nothing but the graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.capture.deferred import deferred_host_access
from revgnn.capture.host_reads import NoHostReads
from revgnn.capture.obstacles import CaptureError, refuse_obstacles
from revgnn.capture.recording import Recording, map_outputs, mode_of
from revgnn.stack.host_access import StateRangeError, default_generator
from revgnn.stack.snapshot import frozen_statistics

WARM_UP = 3
"""Calls that run the step before it is recorded. They compile kernels, and make the handles and workspaces of libraries."""


class CapturedStep:
    """Forward pass, loss and backward pass as one CUDA graph.

    A stack of 1,001 layers launches tens of thousands of small kernels a step, and on a GPU the host takes the time. A graph is
    launched as a whole. It repeats the recorded kernels on the recorded addresses: shapes, edges and every decision made in Python
    are those of the recording; weights, inputs, gradients and random numbers are new each time.

    Every call is one step. On a CUDA device the first three calls run it kernel by kernel; from the second on, operations that
    cannot be recorded are refused. The fourth call records the step, and from then on it is replayed. On the CPU every call runs
    the step as it is, so that the same code works there.

    After a call the gradients are in `.grad`, in place of the earlier ones: they do not accumulate from call to call. Random
    numbers come from torch's default generator of the device, new ones in each replay; a block of a stack that draws its own gets
    the same ones in both evaluations. Buffers change as in an ordinary step. The range of a state is checked after the replay. If a
    state has left it, the step is run once more as it is, which continues with a coarser grid or raises, and the next calls record
    it again.

    Args:
        step: called with the inputs of the call; returns a tensor, or tensors in tuples, lists and dicts. It calls `backward()`
            itself, and may clip the gradients. It may change nothing but gradients and buffers of the model (call the optimiser
            after it), read nothing on the host (`.item()`, `float()`, masks as indices), and draw nothing on the CPU. Autocast
            belongs inside it.
        model: the module whose parameters get gradients, all on one device. Every stack that the step runs must be a module in it.

    Example:
        >>> def step(x, y):
        ...     loss = F.cross_entropy(model(graph, x), y)
        ...     loss.backward()
        ...     return loss
        >>> step = CapturedStep(step, model)
        >>> for x, y in data:
        ...     loss = step(x, y)
        ...     optimizer.step()
    """

    def __init__(self, step: Callable[..., Any], model: nn.Module) -> None:
        devices = {p.device for p in model.parameters()}
        if len(devices) != 1:
            raise ValueError(f"the parameters of the model must be on one device, got {sorted(map(str, devices)) or 'none'}.")
        self.step = step
        self.model = model
        self._calls = 0
        self._recording: Recording | None = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the step.

        Args:
            inputs: constants to the step, on the device of the model, of the same shapes and dtypes in every call. They are
                copied; the step should hold what never changes, such as a graph, itself.

        Returns:
            What the step returns, without its autograd graph.

        Raises:
            CaptureError: if the step cannot be recorded, from the second call on; or if it is not called as it was recorded.
            StateRangeError: as the step itself raises it.
        """
        device, inputs = self._check(inputs)
        if device.type != "cuda":
            return self._run(inputs)
        with torch.cuda.device(device):
            return self._call_on_cuda(device, inputs)

    def rehearse(self, *inputs: Tensor) -> Any:
        """Run the step as it will be recorded, and refuse what a graph cannot repeat. Arguments and result are those of a call.

        It works on the CPU too: try a step there that is to run on a GPU.

        Raises:
            CaptureError: naming what the step does that cannot be recorded.
        """
        device, inputs = self._check(inputs)
        return self._run_as_recorded(device, inputs, NoHostReads())

    def forget(self) -> None:
        """Drop the recording and its memory. The next calls warm up and record again.

        Call it when something has changed that the step reads in Python.
        """
        self._recording = None
        self._calls = 0

    def _call_on_cuda(self, device: torch.device, inputs: tuple[Tensor, ...]) -> Any:
        if self._recording is not None and self._recording.is_stale():
            self.forget()
        if self._recording is None and self._calls < WARM_UP:
            # The first call may do what is done only once: sort a graph by its sources, compile kernels.
            watch = NoHostReads() if self._calls else nullcontext()
            outputs = self._on_side_stream(lambda: self._run_as_recorded(device, inputs, watch))
            self._calls += 1
            return outputs
        if self._recording is None:
            self._recording = self._record(inputs)
        recording, generator = self._recording, default_generator(device)
        generator_state = generator.get_state()
        recording.replay(inputs, mode_of(self.model))
        try:
            recording.checks.verify()
        except StateRangeError:
            self.forget()
            return self._on_side_stream(lambda: self._run_again(inputs, generator, generator_state))
        return map_outputs(torch.clone, recording.outputs)

    def _run_as_recorded(self, device: torch.device, inputs: tuple[Tensor, ...], watch: AbstractContextManager[object]) -> Any:
        """Run the step as it will be recorded, so that all calls draw random numbers in the same way."""
        refuse_obstacles(self.model)
        generator = default_generator(device)
        generator_state, cpu_state = generator.get_state(), _state_bytes(torch.default_generator)
        with deferred_host_access(self.model) as checks:
            with watch:
                outputs = self._run(inputs)
            checks.gather()
        if device.type == "cuda" and cpu_state != _state_bytes(torch.default_generator):
            raise CaptureError(
                "the step draws random numbers on the CPU, which a replay would repeat; draw them on the device, or before the "
                "step, and pass them as an input."
            )
        try:
            checks.verify()
        except StateRangeError:
            return self._run_again(inputs, generator, generator_state)
        return outputs

    def _run(self, inputs: tuple[Tensor, ...]) -> Any:
        """Run the step as it is."""
        parameters = list(self.model.parameters())
        versions = [p._version for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        outputs = map_outputs(torch.detach, self.step(*inputs))
        if versions != [p._version for p in parameters]:
            raise CaptureError(
                "the step changes a parameter; leave the optimiser's step out of it and call that afterwards, when it is known "
                "that the state has stayed within its range."
            )
        return outputs

    def _run_again(self, inputs: tuple[Tensor, ...], generator: torch.Generator, generator_state: Tensor) -> Any:
        """Run the step as it is with the random numbers of a first run, in which a state has left its grid."""
        generator.set_state(generator_state)
        with frozen_statistics(self.model.modules()):  # the first run has updated them
            return self._run(inputs)

    def _on_side_stream(self, work: Callable[[], Any]) -> Any:
        """Work on the stream that the graph is recorded on, so that autograd and libraries meet the same stream later."""
        current = torch.cuda.current_stream()
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = work()
        current.wait_stream(self._stream)
        return outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> Recording:
        """Record the step. No kernel runs: weights, buffers and generators do not change."""
        refuse_obstacles(self.model)
        graph, static = torch.cuda.CUDAGraph(), tuple(t.clone() for t in inputs)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.grad = None  # now, so that their memory is free before the graph allocates its own
        try:
            with deferred_host_access(self.model) as checks, torch.cuda.graph(graph, stream=self._stream):
                outputs = self._run(static)
                checks.gather()
        except RuntimeError as error:
            raise CaptureError(
                f"the step could not be recorded: {_first_cause(error)}. Within it nothing may wait for the device, be copied from "
                "or to the host, or be done on another stream; else run the step without capture."
            ) from error
        addresses = [p.data_ptr() for p in parameters]
        return Recording(graph, static, outputs, checks, parameters, addresses, [p.grad for p in parameters], mode_of(self.model))

    def _check(self, inputs: tuple[Tensor, ...]) -> tuple[torch.device, tuple[Tensor, ...]]:
        """Return the device, and the inputs as constants."""
        device = next(self.model.parameters()).device
        for n, value in enumerate(inputs):
            if not isinstance(value, Tensor) or value.device != device:
                got = f"a tensor on {value.device}" if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"inputs of a captured step are tensors on the device of its model, {device}, but input {n} is {got}; let the "
                    "step hold what is not a tensor."
                )
        if torch.is_autocast_enabled(device.type):
            # Each replay would take the copies of the weights in the cache of autocast for the weights themselves.
            raise CaptureError("a captured step is called under autocast; enter autocast inside the step instead.")
        return device, tuple(t.detach() for t in inputs)


def _first_cause(error: BaseException) -> BaseException:
    """Return the error that came first: leaving a recording that has failed raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _state_bytes(generator: torch.Generator) -> bytes:
    return generator.get_state().numpy().tobytes()
