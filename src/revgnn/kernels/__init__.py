"""How a kernel is written, compiled, cached and run. Knows no operator."""
