"""What Triton kernels share. Imports triton, so it is imported only where its kernels are wanted."""
