"""Training data: the image store, patches, whole validation images, the preflight."""
