"""Training tricks of the paper's protocols: labels as inputs, and distillation from a teacher."""
