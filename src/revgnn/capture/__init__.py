"""A training step as one CUDA graph."""

from revgnn.capture.captured_step import CapturedStep

__all__ = ["CapturedStep"]
