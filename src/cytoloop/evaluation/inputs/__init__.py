"""Input of an evaluation: pairs of rows, and their images."""
