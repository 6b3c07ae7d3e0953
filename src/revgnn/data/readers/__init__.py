"""Readers: from files to tensors, one format a file."""
