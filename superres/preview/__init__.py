"""What a run would give: versions of a detail to choose from, and a forecast."""
