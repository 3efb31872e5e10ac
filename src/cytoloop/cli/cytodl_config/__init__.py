"""The primary config of CytoDL's experiments."""
