"""Every preset, row and table, one file per data set.

A published figure is as printed. A row names the preset that is the same network under the same training protocol.
"""
