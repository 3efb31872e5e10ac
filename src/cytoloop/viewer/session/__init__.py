"""What the panels do, without a window: images, decisions, regions, corrections, processes."""
