"""Readers of file formats, one module for each: npz, OGB's raw folders, the raw files of PyTorch Geometric's sets."""
