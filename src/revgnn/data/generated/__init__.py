"""Generated graphs: one to train on, and graphs of an exact size to measure on."""
