"""What is counted in one image: voxels, surfaces, objects and probabilities."""
