"""Tensor expressions: what each element is, and the plain program that computes it."""
