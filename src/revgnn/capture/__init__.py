"""A training step as one CUDA graph."""

from revgnn.capture.captured_step import CapturedStep
from revgnn.capture.obstacles import CaptureError

__all__ = ["CaptureError", "CapturedStep"]
