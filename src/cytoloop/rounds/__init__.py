"""What one round passes to the next: the record of a training, history, registration, promotion."""
