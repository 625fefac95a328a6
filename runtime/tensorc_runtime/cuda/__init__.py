"""Run compiled programs on CUDA devices."""
