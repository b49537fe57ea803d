"""Kernels for a GPU, in Triton; with TRITON_INTERPRET=1 they run on a CPU, slowly, which is how they are tested."""
