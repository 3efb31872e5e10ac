"""Images without labels: which of them to label next."""
