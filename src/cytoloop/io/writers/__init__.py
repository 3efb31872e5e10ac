"""Writers of image formats: OME-TIFF, OME-Zarr, PNG."""
