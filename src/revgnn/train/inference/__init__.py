"""Inference with trained networks: evaluate, predict and correlate saved runs; multi-view logits, spread and calibration."""
