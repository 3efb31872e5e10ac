"""Run a function on many images: threads and processes of this machine."""
