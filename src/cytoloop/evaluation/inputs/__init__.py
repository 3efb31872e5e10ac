"""Input of an evaluation: pairs of predictions and truths, and their images."""
