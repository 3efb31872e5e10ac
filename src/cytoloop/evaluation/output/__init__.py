"""Output of an evaluation: tables, terminal tables and the report."""
