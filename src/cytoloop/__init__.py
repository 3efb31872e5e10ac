"""CytoLoop closes the loop curate -> train -> predict -> evaluate -> curate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytoloop.inference.api import Prediction

__all__ = ["__version__", "predict"]
__version__ = "0.1.0"


def predict(array: Any, model: Any, **options: Any) -> Prediction:
    """Predict an array: probability, mask, labels and a table of objects.

    Parameters
    ----------
    array : array
        ([Z,] Y, X) in the grey levels of the microscope, or with a channel axis.
    model : str, Path or list of them
        A checkpoint, ``runs:/ID``, ``models:/NAME@ALIAS`` ...; several are an ensemble.
    **options
        ``spacing_um`` (Z, Y, X), ``channel_axis``, ``resample``, ``tta``, ``overlap``,
        ``window``, ``batch_size``, ``accelerator``, ``precision``; and the keys of ``postprocess``:
        ``threshold``, ``smoothing``, ``seed_smoothing``, ``min_depth``, ``min_volume_um3``,
        ``max_volume_um3``, ``fill_holes``, ``border``. See ``cytoloop predict --help``.

    Raises
    ------
    CytoloopError
        A model that is not there, an array that it cannot take, or a wrong option.
    """
    from cytoloop.inference.api import predict_array
    from cytoloop.tracking.checkpoints import locate_checkpoint

    models = model if isinstance(model, (list, tuple)) else [model]
    return predict_array(array, [locate_checkpoint(str(m)).path for m in models], **options)
