"""What `revgnn plan --ranks` says beside processes that run."""
