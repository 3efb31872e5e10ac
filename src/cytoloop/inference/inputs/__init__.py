"""What is predicted: the rows of the inputs, and the pixels of a row."""
