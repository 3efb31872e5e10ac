"""Planning: from the training images to patch, network, batch and the rest, with reasons."""
