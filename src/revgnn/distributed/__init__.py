"""Many processes, one result: how a run is spread over processes on `torch.distributed`. Models and operators know no ranks."""

from revgnn.distributed.faults import RankFailed, RanksDiffer
from revgnn.distributed.join import is_launched, join
from revgnn.distributed.ranks import Ranks

__all__ = ["RankFailed", "Ranks", "RanksDiffer", "is_launched", "join"]
