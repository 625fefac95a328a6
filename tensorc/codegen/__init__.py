"""Programs to machine code."""
