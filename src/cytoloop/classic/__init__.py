"""Classic workflows: filters, thresholds and watersheds, without a network."""
