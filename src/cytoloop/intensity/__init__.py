"""Grey levels: statistics, normalisation and resampling, the same in training and prediction."""
