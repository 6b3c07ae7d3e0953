"""Operators: one shape for all of them, on every device, for autograd and for `torch.compile`.

An operator is a differentiable function of tensors. It is described by three named tuples: `Inputs`, its tensors; `Spec`, its
settings; `Saved`, what the backward pass needs beside the inputs. The kernels of a device are two functions:

- `forward(inputs, spec) -> (out, saved)`
- `backward(grad, inputs, saved, spec) -> grads`, an `Inputs` of gradients; those that `spec.wanted` does not name are ignored.

`ops/README.md` shows how to add an operator or the kernels of another device.

An operator that torch's dispatcher knows (`torch.library.custom_op`) passes through some hundred lines of Python a call, which is
the price of a small kernel. So it is used only where something has to see each operator: a compiler, a tracer, a transform, a
dispatch mode or a tensor subclass. Elsewhere the same functions run as a plain `torch.autograd.Function`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from revgnn.kernels.backends import needs_dispatcher

T = TypeVar("T")


class Kernels(Protocol):
    """The kernels of one device: a module with these two functions."""

    @property
    def forward(self) -> Callable[[Any, Any], tuple[Tensor, Any]]: ...
    @property
    def backward(self) -> Callable[[Tensor, Any, Any, Any], Any]: ...


class Codec(NamedTuple):
    """A setting as text, the form in which torch's dispatcher takes it."""

    to_text: Callable[[Any], str]
    from_text: Callable[[str], Any]


NUMBER = Codec(str, float)
YES_OR_NO = Codec(str, lambda text: text == "True")


class Signature(NamedTuple):
    """What an operator takes and keeps.

    Attributes:
        inputs: named tuple of tensors; those annotated `Tensor | None` may be absent.
        spec: named tuple of settings. Its last field, `wanted`, is a tuple of the names of the inputs that want a gradient; the
            operator fills it in.
        saved: named tuple of tensors that the backward pass needs beside the inputs, or None where a device saves none.
        codecs: for each field of `spec` but the last, how its value is written as text and read from it.
    """

    inputs: Any
    spec: Any
    saved: Any
    codecs: tuple[Codec, ...]


def check_tensors(**tensors: object) -> None:
    """Raise unless each argument is a dense tensor. Leave out those that are absent.

    Raises:
        TypeError: if an argument is not a tensor.
        ValueError: if it is sparse.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            hint = "" if tensor is None else f"; use torch.as_tensor({name})"
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}{hint}.")
        if tensor.layout is not torch.strided:
            raise ValueError(f"{name} must be a dense tensor, got layout {tensor.layout}; use {name}.to_dense().")


def gradients(inputs: type[T], **named: Tensor | None) -> T:
    """Return what a backward pass returns: an operator's named tuple of inputs, with these gradients and None for the others."""
    fields: tuple[str, ...] = inputs._fields  # pyright: ignore[reportAttributeAccessIssue]
    assert named.keys() <= set(fields), f"gradients of {sorted(named)}, but the inputs are {fields}"
    return inputs(*[named.get(name) for name in fields])


class Operator:
    """A differentiable operator. Call it with inputs, a spec and the name of a backend.

    Args:
        name: "namespace::name", as torch's dispatcher knows it.
        signature: its named tuples.
        kernels: by backend, functions that return the kernels; those of the GPU are imported only when they are first called for.
        kept: from inputs and spec to the inputs that the backward pass reads; None in place of the others, so that they can die.
        fake: from inputs, spec and backend to `(out, saved)` as empty tensors: shapes and dtypes for tensors without data.
        fake_gradient: from the gradient of the result, the kept inputs and the name of one that is not kept, to an empty tensor of
            the shape and dtype of its gradient. Default: those of the gradient of the result.
        check: from inputs, spec and, in the backward pass, the gradient and saved tensors (else None): raises `ValueError` if they
            do not fit together. Called for what comes through torch's dispatcher, `torch.ops.revgnn`, where anyone may call; the
            public function of the operator has checked its own.

    Attributes:
        registered: the operator as torch's dispatcher knows it, of the inputs, `encode(signature, spec)` and the backend.
    """

    def __init__(
        self,
        name: str,
        signature: Signature,
        kernels: dict[str, Callable[[], Kernels]],
        *,
        kept: Callable[[Any, Any], Any],
        fake: Callable[[Any, Any, str], tuple[Tensor, Any]],
        check: Callable[[Any, Any, Tensor | None, Any], None],
        fake_gradient: Callable[[Tensor, Any, str], Tensor] = lambda grad, kept, name: grad,
    ) -> None:
        self.name = name
        self.signature = signature
        self.kernels = kernels
        self.kept = kept
        self._names = signature.inputs._fields
        self._node = _autograd_node(self)
        self.registered = _register(self, fake, fake_gradient, check)

    def __call__(self, inputs: Any, spec: Any, backend: str) -> Tensor:
        if torch.is_grad_enabled():
            wanted = tuple([n for n, t in zip(self._names, inputs, strict=True) if t is not None and t.requires_grad])
        else:
            wanted = ()
        spec = spec._replace(wanted=wanted)
        if needs_dispatcher(inputs):
            result = self.registered(*inputs, encode(self.signature, spec), backend)
            return result[0] if isinstance(result, tuple) else result
        kernels = self.kernels[backend]()
        if not wanted:
            return kernels.forward(inputs, spec)[0]
        return self._node.apply(kernels, spec, *inputs)


def _autograd_node(operator: Operator) -> Any:
    """The operator as a `torch.autograd.Function` that the dispatcher does not know."""
    inputs_type, _, saved_type, _ = operator.signature
    names, count = inputs_type._fields, len(inputs_type._fields)

    # not with `setup_context` of its own: torch would then look up the signature of `forward` in each call
    def forward(ctx: Any, kernels: Kernels, spec: Any, *tensors: Tensor | None) -> Tensor:
        inputs = inputs_type(*tensors)
        out, saved = kernels.forward(inputs, spec)
        ctx.kernels, ctx.spec = kernels, spec
        ctx.save_for_backward(*operator.kept(inputs, spec), *saved)
        return out

    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        inputs, saved = inputs_type(*tensors[:count]), saved_type(*tensors[count:])
        grads = ctx.kernels.backward(grad.contiguous(), inputs, saved, ctx.spec)
        return None, None, *[g if name in ctx.spec.wanted else None for name, g in zip(names, grads, strict=True)]

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(operator.name.replace("::", "_"), (torch.autograd.Function,), methods)


# --- for torch's dispatcher -------------------------------------------------------------------------------------------------------


def encode(signature: Signature, spec: Any) -> str:
    """Return a spec as text, the form in which the dispatcher takes it."""
    *settings, wanted = spec
    return ";".join([*[codec.to_text(value) for codec, value in zip(signature.codecs, settings, strict=True)], ",".join(wanted)])


def decode(signature: Signature, text: str) -> Any:
    """Return the spec that `encode` was given."""
    *settings, wanted = text.split(";")
    if len(settings) != len(signature.codecs):
        raise ValueError(f"a spec has {len(signature.codecs) + 1} parts, got {text!r}; revgnn.ops.operator.encode writes it.")
    values = [codec.from_text(setting) for codec, setting in zip(signature.codecs, settings, strict=True)]
    return signature.spec(*values, tuple(wanted.split(",")) if wanted else ())


def _register(
    operator: Operator,
    fake: Callable[[Any, Any, str], tuple[Tensor, Any]],
    fake_gradient: Callable[[Tensor, Any, str], Tensor],
    check: Callable[[Any, Any, Tensor | None, Any], None],
) -> Any:
    """Make the operator known to torch's dispatcher: as two custom operators, forward and backward, of tensors and text."""
    signature = operator.signature
    inputs_type, saved_type = signature.inputs, signature.saved
    count = len(inputs_type._fields)
    kept_count = count + len(saved_type._fields)

    def kernels(backend: str) -> Kernels:
        if backend not in operator.kernels:
            raise ValueError(f"backend of {operator.name} must be one of {', '.join(operator.kernels)}, got {backend!r}.")
        return operator.kernels[backend]()

    def run(*arguments: Any) -> Tensor | tuple[Tensor, ...]:
        *tensors, text, backend = arguments
        inputs, spec = inputs_type(*map(_contiguous, tensors)), decode(signature, text)
        check(inputs, spec, None, None)
        return _outputs(*kernels(backend).forward(inputs, spec))

    def run_fake(*arguments: Any) -> Tensor | tuple[Tensor, ...]:
        *tensors, text, backend = arguments
        return _outputs(*fake(inputs_type(*tensors), decode(signature, text), backend))

    def only_wanted(grad: Tensor, spec: Any, grads: Iterable[Tensor | None]) -> tuple[Tensor, ...]:
        named = zip(inputs_type._fields, grads, strict=True)
        return tuple(t if name in spec.wanted and t is not None else grad.new_empty(0) for name, t in named)

    def run_back(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        *tensors, text, backend = arguments
        inputs = inputs_type(*map(_contiguous, tensors[:count]))
        saved = saved_type(*(_contiguous(t) if t is not None and t.numel() else None for t in tensors[count:kept_count]))
        check_tensors(grad=grad)
        spec, grad = decode(signature, text), grad.contiguous()
        check(inputs, spec, grad, saved)
        grads = kernels(backend).backward(grad, inputs, saved, spec)
        return _of_own_memory(only_wanted(grad, spec, grads))

    def run_back_fake(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        kept, spec = inputs_type(*arguments[:count]), decode(signature, arguments[-2])
        like = [fake_gradient(grad, kept, n) if t is None else t for n, t in zip(inputs_type._fields, kept, strict=True)]
        return only_wanted(grad, spec, [torch.empty_like(t, memory_format=torch.contiguous_format) for t in like])

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.text, ctx.backend = inputs
        spec, saved = decode(signature, ctx.text), output[1:] if isinstance(output, tuple) else ()
        ctx.wanted = spec.wanted
        ctx.mark_non_differentiable(*saved)
        ctx.save_for_backward(*operator.kept(inputs_type(*tensors), spec), *saved)

    def differentiate(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        grads = registered_back(grad, *ctx.saved_tensors, ctx.text, ctx.backend)
        return *(g if name in ctx.wanted else None for name, g in zip(inputs_type._fields, grads, strict=True)), None, None

    hints = typing.get_type_hints(inputs_type)
    tensors = ", ".join(f"Tensor{'?' if isinstance(hint, types.UnionType) else ''} {name}" for name, hint in hints.items())
    kept = ", ".join(f"Tensor? {name}" for name in (*inputs_type._fields, *(f"saved_{name}" for name in saved_type._fields)))
    outputs = ", ".join(["Tensor"] * (1 + len(saved_type._fields)))
    grads = ", ".join(["Tensor"] * count)
    common: dict[str, Any] = {"mutates_args": (), "device_types": ("cpu", "cuda")}
    registered = torch.library.custom_op(operator.name, run, schema=f"({tensors}, str spec, str backend) -> ({outputs})", **common)
    registered_back = torch.library.custom_op(
        f"{operator.name}_backward", run_back, schema=f"(Tensor grad, {kept}, str spec, str backend) -> ({grads})", **common
    )
    registered.register_fake(run_fake)
    registered_back.register_fake(run_back_fake)
    registered.register_autograd(differentiate, setup_context=setup_context)
    return registered


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _of_own_memory(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the tensors, copied where one shares memory with another before it, which the dispatcher does not take."""
    first: dict[int, int] = {}
    owners = [first.setdefault(t.untyped_storage().data_ptr(), n) for n, t in enumerate(tensors)]
    return tuple(t if owner == n or not t.numel() else t.clone() for n, (t, owner) in enumerate(zip(tensors, owners, strict=True)))


def _outputs(out: Tensor, saved: tuple[Tensor | None, ...]) -> Tensor | tuple[Tensor, ...]:
    """Return the result and what is saved in a form that the dispatcher takes: no None, and no tensor twice."""
    if not saved:
        return out
    return out, *(out.new_empty(0) if t is None else t.clone() if t is out else t for t in saved)
