"""Ground truth of a manifest row: region files and rules, targets, semantic classes."""
