"""For who measures and maintains: run as `python -m tools.NAME`."""
