"""What one round hands to the next: lineage, history, promotion."""
