"""Figures: charts of scores and pictures of errors."""
