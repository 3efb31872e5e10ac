"""Prediction: a checkpoint and images in; probability, mask, labels and a table out."""
