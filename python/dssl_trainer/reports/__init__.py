"""Curves, galleries, and the HTML page of a run."""
