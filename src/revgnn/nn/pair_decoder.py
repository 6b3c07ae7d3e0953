"""Decoders: the states of two nodes become the logits of their pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DECODERS = ("mlp", "dot")


class PairDecoder(nn.Module):
    r"""$\mathrm{logits} = W_2\, \mathrm{ReLU}(W_1 (h_u \odot h_v) + b_1) + b_2$ ("mlp"), or $h_u \cdot h_v / \sqrt{D}$ ("dot").

    Both are the same for (u, v) and (v, u).

    Args:
        how: one of `DECODERS`; "dot" has one logit.
        channels: D.
        out_channels: T.

    Shapes: h (N, D), ends int64 (2, P); returns (P, T). Learned: W_1, b_1, W_2, b_2 of "mlp".
    """

    def __init__(self, how: str, channels: int, out_channels: int) -> None:
        super().__init__()
        if how not in DECODERS:
            raise ValueError(f"a decoder is one of {', '.join(DECODERS)}, got {how!r}.")
        if how == "dot" and out_channels != 1:
            raise ValueError(f"the decoder dot has one logit, and this task needs {out_channels}; set model.decoder=mlp.")
        self.how = how
        self.scale = channels**-0.5
        self.hidden = nn.Linear(channels, channels) if how == "mlp" else None
        self.out = nn.Linear(channels, out_channels) if how == "mlp" else None

    def forward(self, h: Tensor, ends: Tensor | None) -> Tensor:
        """Return the logits of P pairs."""
        if ends is None:
            raise ValueError("this network gives logits of pairs: pass targets, int64 of shape (2, P).")
        product = h[ends[0]] * h[ends[1]]
        if self.hidden is None or self.out is None:
            return product.sum(dim=1, keepdim=True) * self.scale
        return self.out(torch.relu(self.hidden(product)))

    def extra_repr(self) -> str:
        return self.how
