"""Passes from a scheduled program to one that a backend can emit as it stands."""
