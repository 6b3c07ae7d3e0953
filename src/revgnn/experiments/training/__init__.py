"""Training all networks of a table (`plan`, `train`), and the table with their results (`runs`, `trained_table`)."""
