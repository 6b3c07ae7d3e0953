"""Weights of our convolutions under the names of PyTorch Geometric's."""

from __future__ import annotations

from torch import Tensor, nn

from revgnn.nn.gen import GENConv


def pyg_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """Return a `state_dict` for the same module built of PyTorch Geometric's convolutions.

    GCN, SAGE and GAT have the same names there. Those of `GENConv` are changed, and its numbers t, p and s get shape (1,).

    Args:
        module: a convolution, or a module that holds some at the places where the other holds PyTorch Geometric's.

    Raises:
        ValueError: if PyTorch Geometric's layer has no such tensor: the power of the degree of `softmax-sum` and `power-sum`.
    """
    tensors = module.state_dict()
    for place, child in module.named_modules(remove_duplicate=False):
        if isinstance(child, GENConv):
            prefix = f"{place}." if place else ""
            taken = {name: tensors.pop(prefix + name) for name in child.state_dict()}
            for ours, theirs in child.names_in_pyg().items():
                tensor = taken[ours]
                tensors[prefix + theirs] = tensor.reshape(1) if ours in ("learned", "scale") else tensor
    return dict(tensors)
