"""The verbs: one thin file each. No verb imports another."""
