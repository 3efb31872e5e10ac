"""What a manifest row teaches: regions, targets, classes."""
