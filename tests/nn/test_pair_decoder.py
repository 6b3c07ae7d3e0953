"""Decoders of pairs: their formula, and the same logits in both directions."""

from __future__ import annotations

import pytest
import torch

from revgnn.nn.pair_decoder import DECODERS, PairDecoder


@pytest.mark.parametrize("how", DECODERS)
def test_the_order_of_the_two_nodes_does_not_matter(how: str) -> None:
    decoder, h, ends = PairDecoder(how, 8, 1), torch.randn(20, 8), torch.randint(0, 20, (2, 50))
    assert torch.equal(decoder(h, ends), decoder(h, ends.flip(0)))


def test_the_scalar_product() -> None:
    h, ends = torch.randn(20, 8, dtype=torch.float64), torch.randint(0, 20, (2, 50))
    expected = (h @ h.T / 8**0.5)[ends[0], ends[1]].unsqueeze(1)
    torch.testing.assert_close(PairDecoder("dot", 8, 1)(h, ends), expected)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="dot has one logit, and this task needs 3"):
        PairDecoder("dot", 8, 3)
    with pytest.raises(ValueError, match="a decoder is one of mlp, dot, got 'sum'"):
        PairDecoder("sum", 8, 1)
    with pytest.raises(ValueError, match="gives logits of pairs"):
        PairDecoder("mlp", 8, 1)(torch.randn(3, 8), None)
