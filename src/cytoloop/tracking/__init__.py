"""MLflow: the project's store, one run per training, checkpoints by URI."""
