"""The command line: verbs as Hydra apps."""
