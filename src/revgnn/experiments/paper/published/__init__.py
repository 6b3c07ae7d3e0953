"""The published figures, a file a data set."""
