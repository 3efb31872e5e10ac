"""The previous round: what it decided, and what the next round takes over."""
