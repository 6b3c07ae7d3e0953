"""Many processes beside one: throughput and memory."""
