"""Train, valid and test: which group of images goes where."""
