"""A run whose weights and optimiser state are cut over processes, a piece of the stack at a time: FSDP2 from outside.

`pieces` cuts the stack, `fsdp` and `shard` hold the shares, `files` writes and reads them as the files of one process, and `mode`
is the way of training: `--parallel weights`.
"""
