"""Many processes, one result: how a run is spread over processes on `torch.distributed`. Models and operators know no ranks."""

from revgnn.distributed.assign import assign
from revgnn.distributed.faults import RankFailed, RanksDiffer
from revgnn.distributed.join import is_launched, join
from revgnn.distributed.modes import ModeOptions, make_spread
from revgnn.distributed.ranks import Ranks
from revgnn.distributed.shard_model import shard_model, sum_gradients
from revgnn.distributed.sharded_graph import ShardedGraph
from revgnn.distributed.weights.shard import ShardedWeights, shard_weights

__all__ = [
    "ModeOptions",
    "RankFailed",
    "Ranks",
    "RanksDiffer",
    "ShardedGraph",
    "ShardedWeights",
    "assign",
    "is_launched",
    "join",
    "make_spread",
    "shard_model",
    "shard_weights",
    "sum_gradients",
]
