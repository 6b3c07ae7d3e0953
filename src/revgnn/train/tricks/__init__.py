"""Training tricks of the paper's protocols: labels as inputs, and learning from a teacher."""
