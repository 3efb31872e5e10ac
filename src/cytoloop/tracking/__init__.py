"""MLflow: the store, one run per training, checkpoints by URI, the model registry."""
