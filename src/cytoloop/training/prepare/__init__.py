"""From a composed config and a data set to a config that trains."""
