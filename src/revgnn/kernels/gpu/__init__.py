"""What Triton kernels share. It imports triton, so import it only where such kernels are needed."""
