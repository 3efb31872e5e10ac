"""Figures: charts of scores, and images with their errors."""
