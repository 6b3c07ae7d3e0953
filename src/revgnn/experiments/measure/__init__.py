"""Our peak memory of one training step, to compare with the published memory: the batch, the step, and the rows of a table."""
