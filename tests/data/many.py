"""Many small graphs for tests: some have a single node, some no edge."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_tu(folder: Path, name: str = "TOY", *, count: int = 60, seed: int = 0, numbers: bool = False) -> Path:
    """Write graphs in TU's format. Class 1: most nodes have label 3; else -1. Numbers: share and count of such nodes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    edges, indicator, kinds, attributes, labels, targets = [], [], [], [], [], []
    for g in range(count):
        n = int(rng.integers(1, 10)) if g % 7 else 1
        first = len(indicator) + 1
        rate = rng.choice([0.2, 0.8])
        own = np.where(rng.random(n) < rate, 3, rng.integers(1, 3, n))
        indicator += [g + 1] * n
        kinds += own.tolist()
        attributes += [f"{a:.3f}, {b:.3f}" for a, b in rng.standard_normal((n, 2))]
        pairs = [(a, b) for a in range(n) for b in range(a) if rng.random() < 0.4 and g % 5]
        edges += [(first + a, first + b) for a, b in pairs] + [(first + b, first + a) for a, b in pairs]
        labels.append(1 if (own == 3).mean() > 0.5 else -1)
        targets.append(f"{(own == 3).mean()}, {10_000 + (own == 3).sum()}")
    edge_kinds = [(a + b) % 3 for a, b in edges]
    contents = {
        "A": [f"{a}, {b}" for a, b in edges],
        "graph_indicator": indicator,
        "node_labels": kinds,
        "node_attributes": attributes,
        "edge_labels": edge_kinds,
        **({"graph_attributes": targets} if numbers else {"graph_labels": labels}),
    }
    for what, lines in contents.items():
        (folder / f"{name}_{what}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder
