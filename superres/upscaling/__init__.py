"""Arrays to larger arrays."""
