"""Networks: a configuration becomes encoder, stack and head."""

from revgnn.models.build import build_model, num_parameters
from revgnn.models.config import ModelConfig
from revgnn.models.deep_gnn import DeepGNN

__all__ = ["DeepGNN", "ModelConfig", "build_model", "num_parameters"]
