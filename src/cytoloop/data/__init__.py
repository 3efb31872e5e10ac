"""Training data: image cache, patches, augmentation, target maps, the Lightning data module."""
