"""Output of a curation: manifests, made images, report."""
