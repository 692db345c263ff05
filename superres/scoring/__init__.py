"""Scores of enlarged pictures, their tables and their page."""
