"""tensorc."""
