"""What a curation writes: manifests, merged targets, report."""
