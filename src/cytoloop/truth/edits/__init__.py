"""Edits of labels: split, merge, delete, fill, smooth, interpolate and add objects.

Each function looks at a label image and returns an `Edit`. `Edit.apply` and `Edit.revert` change
the image in place, so any edit can be undone and done again.
"""

from cytoloop.truth.edits.edit import Edit, box_of, edit_of
from cytoloop.truth.edits.grow import add_ball, add_predicted, fill_object, smooth_object
from cytoloop.truth.edits.join import delete_objects, merge_objects
from cytoloop.truth.edits.planes import interpolate_masks, interpolate_object
from cytoloop.truth.edits.split import cut_object, split_object

__all__ = [
    "Edit",
    "add_ball",
    "add_predicted",
    "box_of",
    "cut_object",
    "delete_objects",
    "edit_of",
    "fill_object",
    "interpolate_masks",
    "interpolate_object",
    "merge_objects",
    "smooth_object",
    "split_object",
]
