"""A training step as one CUDA graph: recorded once, then replayed, so that the host launches nothing but the graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from revgnn.capture.host_reads import NoHostReads
from revgnn.stack.recordable import CaptureError, RangeChecks, StateRangeError, default_generator, recordable
from revgnn.stack.replay import frozen_statistics

WARM_UP = 3
"""Calls that run the step before it is recorded: kernels are compiled, libraries have their handles and workspaces."""


class CapturedStep:
    """Forward pass, loss and backward pass as one CUDA graph.

    A stack of 1,001 layers launches tens of thousands of small kernels a step, and on a GPU it is the host that takes the time.
    A graph is launched as a whole. It repeats the recorded kernels on the recorded addresses: shapes, edges and every decision
    taken in Python are those of the recording, while weights, inputs, gradients and random numbers are new each time.

    Every call is one step. On a CUDA device the first three run it kernel by kernel, and from the second on what could not be
    recorded is refused; the fourth records it, and from then on it is replayed. On the CPU every call runs the step as it is,
    so the same code works there.

    After a call the gradients are in `.grad`, in place of what was there: they do not accumulate from call to call. Random
    numbers come from torch's default generator of the device, new ones in each replay; a block of a stack that draws its own
    gets the same ones in both evaluations. Buffers move as in an ordinary step. That a state has left the range of its grid is
    seen after the replay: the step is then run once more as it is, which goes on with a coarser grid or raises, and the next
    calls record it anew.

    Args:
        step: called with the inputs of the call; returns a tensor, or tensors in tuples, lists and dicts. It calls `backward()`
            itself, and may clip the gradients. It may change nothing but gradients and buffers of the model (call the
            optimiser after it), read nothing on the host (`.item()`, `float()`, masks as indices), and draw nothing on the CPU.
            Autocast belongs inside it.
        model: whose parameters get gradients; all on one device.

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
            raise ValueError(f"a model with its parameters on one device is wanted, got {sorted(map(str, devices)) or 'none'}.")
        self.step = step
        self.model = model
        self._calls = 0
        self._recording: _Recording | None = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the step.

        Args:
            inputs: constants to the step, on the device of the model, of the same shapes and dtypes in every call. They are
                copied; what never changes, such as a graph, the step had better hold itself.

        Returns:
            What the step returns, without its autograd graph.

        Raises:
            CaptureError: if the step cannot be recorded, from the second call on; or if it is called otherwise than recorded.
            StateRangeError: as the step itself raises it.
        """
        device, inputs = self._check(inputs)
        if device.type != "cuda":
            return self._run(inputs)
        with torch.cuda.device(device):
            return self._on_cuda(device, inputs)

    def rehearse(self, *inputs: Tensor) -> Any:
        """Run the step as it will be recorded, and refuse what a graph could not repeat. It works on the CPU too: try there what
        is to run on a GPU. Arguments and result are those of a call.

        Raises:
            CaptureError: naming what the step does that cannot be recorded.
        """
        device, inputs = self._check(inputs)
        return self._trial(device, inputs, NoHostReads())

    def forget(self) -> None:
        """Drop the recording and its memory; the next calls warm up and record anew. For when something that the step looks at in
        Python has changed."""
        self._recording = None
        self._calls = 0

    def _on_cuda(self, device: torch.device, inputs: tuple[Tensor, ...]) -> Any:
        if self._recording is not None and self._recording.is_stale():
            self.forget()
        if self._recording is None and self._calls < WARM_UP:
            # the first call may do what is done once: sort a graph by its sources, compile kernels
            watch = NoHostReads() if self._calls else nullcontext()
            outputs = self._aside(lambda: self._trial(device, inputs, watch))
            self._calls += 1
            return outputs
        if self._recording is None:
            self._recording = self._record(inputs)
        recording, generator = self._recording, default_generator(device)
        before = generator.get_state()
        recording.replay(inputs, _mode(self.model))
        try:
            recording.checks.verify()
        except StateRangeError:
            self.forget()
            return self._aside(lambda: self._again(inputs, generator, before))
        return _map(torch.clone, recording.outputs)

    def _trial(self, device: torch.device, inputs: tuple[Tensor, ...], watch: AbstractContextManager[object]) -> Any:
        """The step in the way it will be recorded, so that all calls draw random numbers alike."""
        generator = default_generator(device)
        before, on_host = generator.get_state(), _state(torch.default_generator)
        with recordable() as checks:
            with watch:
                outputs = self._run(inputs)
            checks.gather()
        if device.type == "cuda" and on_host != _state(torch.default_generator):
            raise CaptureError(
                "the step draws random numbers on the CPU, which a replay would repeat; draw them on the device, or before the "
                "step, and pass them as an input."
            )
        try:
            checks.verify()
        except StateRangeError:
            return self._again(inputs, generator, before)
        return outputs

    def _run(self, inputs: tuple[Tensor, ...]) -> Any:
        """The step as it is."""
        parameters = list(self.model.parameters())
        versions = [p._version for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        outputs = _map(torch.detach, self.step(*inputs))
        if versions != [p._version for p in parameters]:
            raise CaptureError(
                "the step changes a parameter; leave the optimiser's step out of it and call that afterwards, when the state is "
                "known to have kept within its range."
            )
        return outputs

    def _again(self, inputs: tuple[Tensor, ...], generator: torch.Generator, before: Tensor) -> Any:
        """The step as it is, in place of one whose state has left its grid, with the same random numbers."""
        generator.set_state(before)
        with frozen_statistics([self.model]):  # the first try has moved them
            return self._run(inputs)

    def _aside(self, work: Callable[[], Any]) -> Any:
        """On the stream that the graph is recorded on, so that what autograd and libraries remember of streams is the same."""
        current = torch.cuda.current_stream()
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = work()
        current.wait_stream(self._stream)
        return outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> _Recording:
        """Nothing is run: neither weights nor buffers nor the generator notice."""
        graph, static = torch.cuda.CUDAGraph(), tuple(t.clone() for t in inputs)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.grad = None  # now, so that the memory can be given back before the graph's own is taken
        try:
            with recordable() as checks, torch.cuda.graph(graph, stream=self._stream):
                outputs = self._run(static)
                checks.gather()
        except RuntimeError as error:
            raise CaptureError(
                f"the step could not be recorded: {_first(error)}. Within it nothing may wait for the device, be copied from or "
                "to the host, or be done on another stream; else run the step without capture."
            ) from error
        addresses = [p.data_ptr() for p in parameters]
        return _Recording(graph, static, outputs, checks, parameters, addresses, [p.grad for p in parameters], _mode(self.model))

    def _check(self, inputs: tuple[Tensor, ...]) -> tuple[torch.device, tuple[Tensor, ...]]:
        """The device, and the inputs as constants."""
        device = next(self.model.parameters()).device
        for n, value in enumerate(inputs):
            if not isinstance(value, Tensor) or value.device != device:
                got = f"a tensor on {value.device}" if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"inputs of a captured step are tensors on the device of its model, {device}, but input {n} is {got}; let the "
                    "step hold what is no tensor."
                )
        if torch.is_autocast_enabled(device.type):
            # what it has cast of the weights before the step would be taken for the weights themselves in each replay
            raise CaptureError("a captured step is called under autocast; enter autocast inside the step instead.")
        return device, tuple(t.detach() for t in inputs)


@dataclass
class _Recording:
    """A graph, and what it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: Any
    checks: RangeChecks
    parameters: list[nn.Parameter]
    addresses: list[int]
    grads: list[Tensor | None]
    mode: tuple[bool, bool]

    def is_stale(self) -> bool:
        """A parameter lies elsewhere: the model was moved, or given other tensors."""
        return any(p.data_ptr() != address for p, address in zip(self.parameters, self.addresses, strict=True))

    def replay(self, inputs: tuple[Tensor, ...], mode: tuple[bool, bool]) -> None:
        wanted, got = [_kind(t) for t in self.inputs], [_kind(t) for t in inputs]
        if wanted != got:
            raise CaptureError(
                f"this step was recorded for inputs {wanted}, got {got}; a graph repeats one size: make a CapturedStep for each, "
                "or run steps of changing size without capture."
            )
        if mode != self.mode:
            raise CaptureError(
                f"this step was recorded with (model.training, gradients) = {self.mode}, but is called with {mode}; call it as it "
                "was recorded, or forget() first."
            )
        for static, value in zip(self.inputs, inputs, strict=True):
            static.copy_(value)
        self.graph.replay()
        for parameter, grad in zip(self.parameters, self.grads, strict=True):
            if parameter.grad is not grad:
                parameter.grad = grad


def _first(error: BaseException) -> BaseException:
    """What went wrong first: the end of a recording that has failed is an error too."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _mode(model: nn.Module) -> tuple[bool, bool]:
    return model.training, torch.is_grad_enabled()


def _state(generator: torch.Generator) -> bytes:
    return generator.get_state().numpy().tobytes()


def _kind(t: Tensor) -> str:
    return f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}"


def _map(function: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    leaves, spec = pytree.tree_flatten(outputs)
    for leaf in leaves:
        if leaf is not None and not isinstance(leaf, Tensor):
            raise CaptureError(f"a captured step returns tensors, got {type(leaf).__name__}, which a replay would leave as it is.")
    return pytree.tree_unflatten([None if leaf is None else function(leaf) for leaf in leaves], spec)
