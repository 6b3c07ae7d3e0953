"""A pipeline over layers: each process has some layers of a stack, and parts of a step pass through all of them.

Read the files in this order: `cut` (which stage has which layers and weights), `stage` (the forward pass of a stage), `sums`
(gradients of weights that several stages use), `schedule` (how parts pass through the stages, by `torch.distributed.pipelining`),
`pipeline` (a step and an evaluation), `layers` (a run).
"""
