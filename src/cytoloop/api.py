"""Verbs as Python functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytoloop.inference.predict_array import Prediction


def predict(array: Any, checkpoint: Any, **options: Any) -> Prediction:
    """Return the prediction for an array: probability, mask, labels and a table of objects.

    Parameters
    ----------
    array : array
        Grey levels of the microscope, ([Z,] Y, X); or with a channel axis, see `channel_axis`.
    checkpoint : str, Path or list of them
        A file, ``runs:/ID``, ``models:/NAME@ALIAS`` ...; a list is an ensemble.
    **options
        ``spacing_um`` (Z, Y, X), ``channel_axis``, ``resample``, ``tta``, ``overlap``,
        ``window``, ``batch_size``, ``accelerator``, ``precision``; and the keys of ``postprocess``:
        ``threshold``, ``smoothing``, ``seed_smoothing``, ``min_depth``, ``min_volume_um3``,
        ``max_volume_um3``, ``fill_holes``, ``border``. See ``cytoloop predict --help``.

    Returns
    -------
    Prediction

    Raises
    ------
    CytoloopError
        The checkpoint does not exist, the array does not fit it, or an option is wrong.
    """
    from cytoloop.inference.predict_array import predict_array
    from cytoloop.tracking.checkpoints import locate_checkpoint

    uris = checkpoint if isinstance(checkpoint, (list, tuple)) else [checkpoint]
    return predict_array(array, [locate_checkpoint(str(uri)).path for uri in uris], **options)
