"""Training: preparation, the fit itself, callbacks, tuning, the final test."""
