"""The previous round: its data set, and what the next round takes over from it."""
