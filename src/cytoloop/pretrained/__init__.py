"""Models that ship with the package: weights, settings and model cards, as data."""
