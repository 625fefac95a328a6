"""Schedules: loop programs rewritten step by step, every step proved legal."""
