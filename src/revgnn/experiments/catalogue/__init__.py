"""Every preset, row and table, by data set. `proteins_networks.py` has the presets of `proteins.py` and `proteins_depth.py`.

A published figure is as printed, with its source. A row names the preset that is the same network under the same training protocol.
Where a preset differs from the authors' code, one of `notes.py` says so.
"""
