"""What the modules of a run were like in its forward pass, so that the second evaluation finds them as the first did.

Between the two passes a program may call `eval()`, change a rate of dropout, freeze a weight, fill a buffer, or leave a context
that had replaced parameters. What can be put back for the time of the second evaluation is put back. What cannot is an error:
values that were overwritten.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from revgnn.stack.layers import AbstractLayer


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
    """

    def __init__(self, roots: Iterable[nn.Module], first: int = 0) -> None:
        self.roots = list(dict.fromkeys(roots))
        self._first = first
        self.has_hooks = self.is_compiled = False
        self.modules = modules_in(self.roots)
        self._dicts: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """Attributes of each module and what its dictionaries of tensors and modules contain, beside a copy."""
        tensors: dict[int, Tensor] = {}
        buffers: dict[int, Tensor] = {}
        for module in self.modules:
            own = module.__dict__
            self._dicts.append((own, own.copy()))
            if own["_forward_hooks"] or own["_forward_pre_hooks"]:
                self.has_hooks = True
            if module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule":
                self.is_compiled = True
            if parameters := own["_parameters"]:
                self._dicts.append((parameters, parameters.copy()))
                for p in parameters.values():
                    if p is not None:
                        tensors[id(p)] = p
            if contents := own["_buffers"]:
                self._dicts.append((contents, contents.copy()))
                # A norm in training mode moves its running statistics, and does not use them.
                if not (own["training"] and isinstance(module, _NormBase)):
                    buffers |= {id(b): b for b in contents.values() if b is not None}
            if children := own["_modules"]:
                self._dicts.append((children, children.copy()))
        self._parameters = list(tensors.values())
        self._flags = [p.requires_grad for p in self._parameters]
        self._buffers = [(b, b._version) for b in buffers.values()]
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
        changed = [(own, saved) for own, saved in self._dicts if _differs(own, saved)]
        pairs = zip(self._parameters, self._flags, strict=True)
        flags = [(p, wanted) for p, wanted in pairs if p.requires_grad != wanted and p.is_leaf]
        current = [own.copy() for own, _ in changed]
        for own, saved in changed:
            _replace(own, saved)
        for tensor, wanted in flags:
            tensor.requires_grad_(wanted)
        try:
            with frozen_statistics(self.modules), uncached_parametrizations():
                yield
        finally:
            for (own, _), content in zip(changed, current, strict=True):
                _replace(own, content)
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


def _differs(own: dict[str, Any], saved: dict[str, Any]) -> bool:
    """Whether a dictionary does not hold the very objects of its copy. Tensors are not compared by value."""
    return len(own) != len(saved) or not all(map(operator.is_, own.values(), saved.values()))


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
