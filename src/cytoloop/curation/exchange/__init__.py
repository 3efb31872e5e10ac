"""Exchange: data sets and annotations in the forms of other tools, both ways."""
