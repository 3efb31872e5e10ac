"""Normalise and resample grey levels, in the same way for training and prediction."""
