"""Restored pictures to scores, tables and a page."""
