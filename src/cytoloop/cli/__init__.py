"""The command line: each verb is a Hydra app that calls functions of the other packages."""
