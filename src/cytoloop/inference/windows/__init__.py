"""The network run window by window: probability maps of an image."""
