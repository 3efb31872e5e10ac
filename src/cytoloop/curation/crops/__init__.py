"""Crops: cut images into pictures for annotation, and stitch the corrected labels together."""
