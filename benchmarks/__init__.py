"""Timings against a rival, each answer checked first: `python -m benchmarks`, or `make bench`."""
