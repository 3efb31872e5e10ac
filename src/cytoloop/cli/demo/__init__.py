"""The demo: two rounds of the loop on a real confocal stack of nuclei."""
