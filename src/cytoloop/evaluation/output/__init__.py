"""Output of an evaluation: tables, terminal tables, report, and the files as a whole."""
