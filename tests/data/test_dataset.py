"""`NodeDataset` refuses inconsistent data when it is made, with a message that says what is wrong."""

from __future__ import annotations

import pytest
import torch

from revgnn.data import NodeDataset, Split
from revgnn.graph import Graph

N = 6
GRAPH = Graph.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), N)


def split(train=(0, 1), valid=(2,), test=(3,)) -> Split:
    return Split(*(torch.tensor(nodes, dtype=torch.int64) for nodes in (train, valid, test)))


def dataset(**changes) -> NodeDataset:
    fields = {
        "name": "small",
        "graph": GRAPH,
        "x": torch.ones(N, 2),
        "y": torch.tensor([0, 1, 2, 0, -1, -1]),
        "task": "multiclass",
        "num_outputs": 3,
        "metric": "accuracy",
        "splits": (split(),),
    }
    return NodeDataset(**(fields | changes))


def multilabel(**changes) -> NodeDataset:
    y = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0], [1, float("nan")], [0, 0]])
    return dataset(**({"y": y, "task": "multilabel", "num_outputs": 2, "metric": "rocauc"} | changes))


def test_properties_and_summary():
    data = dataset(
        splits=(split(), split(train=(1, 2), valid=()[:0], test=(3,))), species=torch.zeros(N, dtype=torch.int64), num_species=2
    )
    assert (data.num_nodes, data.in_channels, data.num_edge_features) == (6, 2, 0)
    assert data.split is data.splits[0]
    assert data.with_split(1).split.train.tolist() == [1, 2]
    assert data.summary() == (
        "small: 6 nodes, 4 directed edges, 2 node features, 2 species, 3 classes (accuracy), split 0 of 2: 2 / 1 / 1"
    )
    assert "\n" not in multilabel().summary()


def x_with(value: float) -> torch.Tensor:
    x = torch.ones(N, 2)
    x[4, 1] = value
    return x


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "need features x .* or species"),
        ({"x": torch.ones(N, 2, dtype=torch.float64)}, r"x must be float32 of shape \(6, F\), got float64 of shape \(6, 2\)"),
        ({"x": torch.ones(5, 2)}, r"got float32 of shape \(5, 2\)"),
        ({"x": x_with(float("nan"))}, "feature 1 of node 4 is nan"),
        ({"x": x_with(float("-inf"))}, "feature 1 of node 4 is -inf"),
        ({"species": torch.full((N,), 3), "num_species": 3}, r"node 0 has species 3, outside \[0, 3\)"),
        ({"species": torch.zeros(N)}, "species must be int64"),
        ({"num_species": 2}, "num_species=2 without species"),
        ({"task": "ranking"}, "task must be one of multiclass, binary, multilabel, regression, got 'ranking'"),
        ({"task": "regression", "metric": "mae"}, r"y must be float32 of shape \(6, 3\), got int64"),
        ({"task": "regression"}, "metric accuracy does not fit regression labels; use mae, rmse, r2"),
        ({"metric": "mse"}, "metric must be one of"),
        ({"metric": "rocauc"}, "rocauc does not fit multiclass labels; use accuracy"),
        ({"y": torch.tensor([0, 1, 3, 0, 0, 0])}, "node 2 has label 3; with 3 classes labels are 0 to 2"),
        ({"y": torch.tensor([0, 1, 0, 0, -2, 0])}, "node 4 has label -2"),
        ({"y": torch.zeros(N)}, "y must be int64"),
        ({"task": "binary", "metric": "rocauc"}, "num_outputs=1, got 3"),
        ({"num_outputs": 1}, "needs num_outputs of 2 or more"),
        ({"splits": ()}, "at least one split"),
        ({"split_index": 1}, r"has 1 split\(s\), 0 to 0; got split 1"),
        ({"splits": (split(train=()),)}, "split 0: no training nodes"),
        ({"splits": (split(), split(train=(0, 9)))}, r"split 1, train: node 9 is outside \[0, 6\)"),
        ({"splits": (split(valid=(2, 2)),)}, "valid: node 2 is named more than once"),
        ({"splits": (split(test=(1,)),)}, "node 1 is in train and test"),
        ({"splits": (split(test=(5,)),)}, r"node 5 has no label \(-1\)"),
        ({"splits": (split(train=(0,), valid=(1,)),)}, "every training node has label 0"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        dataset(**changes)


def test_the_sum_of_finite_features_may_overflow_float32():
    assert dataset(x=torch.full((N, 2), 3e38)).in_channels == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": torch.full((N, 2), 2.0)}, "label 0 of node 0 is 2.0; it must be 0, 1 or NaN"),
        ({"y": torch.zeros(N, 3)}, r"y must be float32 of shape \(6, 2\)"),
        ({"task_names": ("a",)}, "1 task names for 2 labels"),
        ({"metric": "accuracy"}, "accuracy does not fit multilabel"),
    ],
)
def test_refuses_labels(changes, message):
    with pytest.raises(ValueError, match=message):
        multilabel(**changes)


def test_a_label_that_is_constant_in_training_is_a_warning_if_there_are_others():
    with pytest.warns(UserWarning, match=r"1 of 2 labels have one value in training \(b\)"):
        multilabel(splits=(split(train=(0, 2), valid=(1,)),), task_names=("a", "b"))
