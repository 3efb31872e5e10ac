"""Images and their segmentations, paired by keys in their file names."""
