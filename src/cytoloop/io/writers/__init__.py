"""Writers of image formats."""
