"""The demo: the whole loop on a real confocal stack of nuclei."""
