"""Post-processing: probability maps to objects or classes."""
