"""Decisions of curators: the log file, the current decision on each image, its effect on rows."""
