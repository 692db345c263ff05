"""Super-resolution in rooms, one a stage of the way of the data; see docs/development.md."""
