"""Tools for measuring and maintenance: run them as `python -m tools.NAME`."""
