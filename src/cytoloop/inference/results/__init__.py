"""Results of an image: files and its row in predictions.csv."""
