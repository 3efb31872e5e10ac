"""Readers of image formats, and the table that chooses one."""
