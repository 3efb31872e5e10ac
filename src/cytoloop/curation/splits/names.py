"""Names of the splits, here and in the manifests of other programs."""

SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {
    **{split: split for split in SPLITS},
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "testing": "test",
}
"""A split's name in any manifest, to its name here."""
