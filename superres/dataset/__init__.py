"""Photographs to batches of crops."""
