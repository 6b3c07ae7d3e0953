"""What the modules of a run were like in its forward pass, so that the second evaluation finds them as the first did.

Between the two passes a program may call `eval()`, change a rate of dropout, freeze a weight, fill a buffer, or leave a context
that had replaced parameters. What can be put back for the time of the second evaluation is put back. What cannot is an error:
values that were overwritten.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice, repeat
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from revgnn.ops.dropout import DRAW_FROM_OWN
from revgnn.stack.layers import AbstractLayer

_INTERNAL = len(nn.Module().__dict__)
"""Attributes that torch itself gives a module, before any others: the training mode is the first of them."""


class Snapshot:
    """Modules, their attributes, parameters and buffers, and how often each tensor has been written to.

    A snapshot costs well under a microsecond a module, so that it can be taken in every step of a deep stack.

    Attributes:
        roots: what the snapshot was taken of, each once.
        modules: these modules, and all modules below them, each once.
        parameters: their parameters that require a gradient, each once.
        has_hooks, is_compiled: whether a module has forward hooks, or has been compiled.

    Args:
        roots: modules; layers, if their names are to say so.
        first: number of the first layer, for names.
        modules: `modules_in(roots)`, if it is known.
    """

    def __init__(self, roots: Iterable[nn.Module], first: int = 0, modules: list[nn.Module] | None = None) -> None:
        self.roots = list(dict.fromkeys(roots))
        self._first = first
        self.has_hooks = False
        self.modules = modules_in(self.roots) if modules is None else modules
        self.is_compiled = any(cls.__name__ == "OptimizedModule" for cls in set(map(type, self.modules)))
        attributes = [module.__dict__ for module in self.modules]
        self._modes = [own["training"] for own in attributes]
        contents, tensors, buffers, norms, skip = [], {}, {}, [], _INTERNAL
        for module, own in zip(self.modules, attributes, strict=True):
            if next(iter(own)) != "training":
                skip = 0
            if own["_forward_hooks"] or own["_forward_pre_hooks"]:
                self.has_hooks = True
            if "_compiled_call_impl" in own:
                self.is_compiled = True
            if parameters := own["_parameters"]:
                contents.append(parameters)
                for p in parameters.values():
                    if p is not None:
                        tensors[id(p)] = p
            if own_buffers := own["_buffers"]:
                contents.append(own_buffers)
                is_norm = isinstance(module, _NormBase)
                if is_norm:
                    norms.append(module)
                # A norm in training mode moves its running statistics, and does not use them.
                if not (own["training"] and is_norm):
                    for b in own_buffers.values():
                        if b is not None:
                            buffers[id(b)] = b
            if children := own["_modules"]:
                contents.append(children)
        # What torch itself keeps in a module are the same objects all its life, except for the training mode.
        self._attributes = _Entries(attributes, skip)
        self._contents = _Entries(contents)
        """The dictionaries of parameters, buffers and submodules."""
        self._parameters = list(tensors.values())
        self._flags = [p.requires_grad for p in self._parameters]
        self._buffers = [(b, b._version) for b in buffers.values()]
        self._norms: list[nn.Module] = norms
        self._versions: list[int] = []
        self.parameters: list[Any] = [p for p in self._parameters if p.requires_grad]

    def note_versions(self) -> None:
        """Note how often parameters have been written to. Call this at the end of the forward pass, which may initialise them."""
        self._versions = [p._version for p in self._parameters]

    def changed_buffer(self) -> str | None:
        """Return the name of a buffer that has been written to, replaced or added since, such as "0.blocks.0.calls"; else None."""
        known = {id(buffer): version for buffer, version in self._buffers}
        for module in self.modules:
            if module._buffers and not (module.training and isinstance(module, _NormBase)):
                for name, buffer in module._buffers.items():
                    if buffer is not None and known.get(id(buffer)) != buffer._version:
                        prefix = next(prefix for prefix, other in self._named_modules() if other is module)
                        return f"{prefix}.{name}" if prefix else name
        return None

    def refuse_sharded_parameters(self) -> None:
        """Raise `RuntimeError` if a parameter is in pieces while the stack runs."""
        sharded = next((p for p in self._parameters if type(p).__name__ == "DTensor"), None)
        if sharded is not None:
            raise RuntimeError(
                f"parameter {self._where(sharded)} is sharded (a DTensor) while the stack runs, and a stack that recomputes its "
                "activations needs whole parameters in both evaluations; call fully_shard on the stack or on the model around it, "
                "not on its layers or blocks, or build the stack with gradient=Backprop(), with which they may be sharded."
            )

    def check(self, subject: str) -> None:
        """Raise `RuntimeError` if a parameter or buffer has been written to, naming it and the block that it belongs to.

        Args:
            subject: what cannot be evaluated again.
        """
        for tensor, version in zip(self._parameters, self._versions, strict=True):
            if tensor._version != version:
                self._refuse("parameter", tensor, version, subject, "call backward before the optimiser's step")
        for tensor, version in self._buffers:
            if tensor._version != version:
                self._refuse("buffer", tensor, version, subject, "call backward before anything fills the buffer again")

    def _refuse(self, kind: str, tensor: Tensor, version: int, subject: str, advice: str) -> None:
        raise RuntimeError(
            f"{kind} {self._where(tensor)} was changed in place between the forward and the backward pass (version "
            f"{tensor._version}, expected {version}), so {subject} cannot be evaluated again; {advice}."
        )

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Give the modules inside the attributes, parameters, buffers and submodules that they had in the forward pass.

        Training modes, rates and other settings are attributes. So are caches that the first evaluation filled: they are empty
        again. Running statistics of batch norm do not move inside, and parametrizations are not cached.
        """
        changed = [*self._attributes.changed(), *self._contents.changed()]
        modes = [
            (own, then, own["training"])
            for own, then in zip(self._attributes.dicts, self._modes, strict=True)
            if own["training"] is not then
        ]
        pairs = zip(self._parameters, self._flags, strict=True)
        flags = [(p, wanted) for p, wanted in pairs if p.requires_grad != wanted and p.is_leaf]
        current = [own.copy() for own, _ in changed]
        for own, then in changed:
            _replace(own, then)
        for own, then, _ in modes:
            own["training"] = then
        for tensor, wanted in flags:
            tensor.requires_grad_(wanted)
        try:
            with frozen_statistics(self._norms), uncached_parametrizations():
                yield
        finally:
            for (own, _), content in zip(changed, current, strict=True):
                _replace(own, content)
            for own, _, now in modes:
                own["training"] = now
            for tensor, wanted in flags:
                tensor.requires_grad_(not wanted)

    def _named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        for n, root in enumerate(self.roots):
            number = f"{self._first + n}" if isinstance(root, AbstractLayer) else ""
            for name, module in root.named_modules():
                yield ".".join(filter(None, (number, name))), module

    def _where(self, tensor: Tensor) -> str:
        """Return "conv.weight of block 0 of layer 3 (GENBlock)" for a parameter or buffer."""
        for n, root in enumerate(self.roots):
            parts = enumerate(root.blocks) if isinstance(root, AbstractLayer) else ()
            for i, block in parts:
                for name, own in (*block.named_parameters(), *block.named_buffers()):
                    if own is tensor:
                        return f"{name} of block {i} of layer {self._first + n} ({type(block).__name__})"
            for name, own in (*root.named_parameters(), *root.named_buffers()):
                if own is tensor:
                    return f"{name} of {type(root).__name__}"
        return f"of shape {tuple(tensor.shape)}"


class _Entries:
    """The names and objects in dictionaries, from entry `skip` of each on, in two flat lists: quick to make and to compare."""

    def __init__(self, dicts: list[dict[str, Any]], skip: int = 0) -> None:
        self.dicts = dicts
        self.skip = skip
        self.sizes = list(map(len, dicts))
        self.names = list(chain.from_iterable(map(islice, dicts, repeat(skip), repeat(None))))
        self.objects = list(chain.from_iterable(map(islice, map(dict.values, dicts), repeat(skip), repeat(None))))

    def changed(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return each dictionary that holds other objects now, and what it held. Tensors are not compared by value."""
        now = chain.from_iterable(map(islice, map(dict.values, self.dicts), repeat(self.skip), repeat(None)))
        if list(map(len, self.dicts)) == self.sizes and not any(map(operator.is_not, now, self.objects)):
            return []
        found, start = [], 0
        for own, size in zip(self.dicts, self.sizes, strict=True):
            stop = start + size - self.skip
            first = dict(islice(own.items(), self.skip))
            then = first | dict(zip(self.names[start:stop], self.objects[start:stop], strict=True))
            if list(own) != list(then) or any(map(operator.is_not, own.values(), then.values())):
                found.append((own, then))
            start = stop
        return found


def _replace(own: dict[str, Any], content: dict[str, Any]) -> None:
    # no moment at which the dictionary is empty
    for name in own.keys() - content.keys():
        del own[name]
    own.update(content)


@contextmanager
def frozen_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep the running statistics of batch norm unchanged inside. What batch norm computes does not change.

    Args:
        modules: those whose statistics to keep; modules below them are not looked for.
    """
    norms = [m for m in modules if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def uncached_parametrizations() -> Iterator[None]:
    """Leave the cache of `torch.nn.utils.parametrize.cached()` alone inside.

    It would give weights that one evaluation computed without gradients to another one that needs them.
    """
    enabled = parametrize._cache_enabled
    parametrize._cache_enabled = 0
    try:
        yield
    finally:
        parametrize._cache_enabled = enabled


def modules_in(roots: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the modules and all modules below them, each once.

    The method of `nn.Module` also builds all names, which takes longer.
    """
    found = list(dict.fromkeys(roots))
    seen = set(found)
    for module in found:  # the list grows meanwhile
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return found


def trainable_parameters(roots: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters of the modules, and of all modules below them, that require a gradient, each once."""
    parameters = (p for module in modules_in(roots) for p in module._parameters.values())
    return list({id(p): p for p in parameters if p is not None and p.requires_grad}.values())


def version(tensor: Tensor) -> int | None:
    """Return how often a tensor has been written to; None for a tensor made in inference mode, for which torch does not count."""
    return None if tensor.is_inference() else tensor._version


# --- what is known of blocks --------------------------------------------------------------------------------------------------

OBSERVED: tuple[weakref.WeakSet[nn.Module], weakref.WeakSet[nn.Module]] = (weakref.WeakSet(), weakref.WeakSet())
"""Blocks that have been observed once, in evaluation and in training mode: a memo."""

KEEP_TENSORS: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Blocks that kept a tensor with a graph after their evaluation."""


def blocks_to_observe(blocks: Iterable[nn.Module], *, hooked: bool, compiled: bool) -> set[nn.Module]:
    """Return the blocks with forward hooks, those that have kept tensors before, and those that were never observed in their mode.

    Compiled modules are left out: their graph belongs to the compiler.

    Args:
        hooked, compiled: whether any module in the blocks has forward hooks, or is compiled; False saves time.
    """
    found = {b for b in blocks if b in KEEP_TENSORS or b not in OBSERVED[b.training] or (hooked and _has_hooks(b))}
    return {b for b in found if not _is_compiled(b)} if compiled else found


def _has_hooks(block: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks for m in modules_in([block]))


def _is_compiled(block: nn.Module) -> bool:
    return any(m._compiled_call_impl is not None or type(m).__name__ == "OptimizedModule" for m in modules_in([block]))


def all_draw_from_own(modules: list[nn.Module]) -> bool:
    """Whether none of these modules can draw from torch's default generators: known classes, without hooks, not compiled."""
    if not DRAW_FROM_OWN.issuperset(map(type, modules)):
        return False
    for m in modules:  # noqa: SIM110 (a generator costs as much again)
        if m._forward_hooks or m._forward_pre_hooks or m._compiled_call_impl is not None:
            return False
    return True
