"""Graphs in two tables, of nodes and of edges: csv, tsv, JSON lines or Parquet.

`files` finds the tables, `reading` reads one; `kinds` finds out how each column can be used, and `spec` is the file that says so;
`columns` and `encoding` make features, `labels` makes labels, `splits` splits; `dataset` puts them together. `stored` is what a run
keeps, so that it can read new tables in the same way.
"""
