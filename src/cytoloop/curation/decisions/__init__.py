"""Decisions of curators: the log, and what it says of each image."""
