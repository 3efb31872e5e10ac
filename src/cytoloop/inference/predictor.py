"""A network from a checkpoint, run over whole images by overlapping windows."""

from __future__ import annotations

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer

from cytoloop.errors import ConfigError, ImageError
from cytoloop.images import Image, Spacing
from cytoloop.intensity import intensity_statistics, normalize
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.hardware import choose_precision

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class Predictor:
    """Probability maps of whole images.

    Parameters
    ----------
    checkpoint : Checkpoint
    overlap : float
        Of neighbouring windows, in [0, 1).
    batch_size : int
        Windows at a time.
    accelerator : str
        auto, cpu or gpu.
    precision : str
        auto, 32, bf16 or 16.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        overlap: float = 0.25,
        batch_size: int = 4,
        accelerator: str = "auto",
        precision: str = "auto",
    ) -> None:
        if not 0 <= overlap < 1:
            raise ConfigError("overlap", f"{overlap} is out of range", "Expected 0 <= overlap < 1.")
        self.image = checkpoint.image
        self.device = _device(accelerator)
        if precision == "auto":
            precision = choose_precision(self.device.type)
        precision = str(precision).removesuffix("-mixed")
        if precision not in ("32", *_DTYPES):
            raise ConfigError("precision", f"{precision!r}", "Expected auto, 32, bf16 or 16.")
        self.dtype = _DTYPES.get(precision)
        self.network = build_network(checkpoint).to(self.device)
        self.inferer = SlidingWindowInferer(
            roi_size=list(self.image["patch_size"]),
            sw_batch_size=batch_size,
            overlap=overlap,
            mode="gaussian",
            device=torch.device("cpu"),
        )

    @property
    def spacing_um(self) -> Spacing | None:
        """Voxel size (Z, Y, X) of the training images, None where it was unknown."""
        spacing = self.image.get("spacing_um")
        return tuple(spacing) if spacing else None

    def check(self, name: str, image: Image) -> None:
        """Refuse an image that the network cannot take.

        Raises
        ------
        ImageError
            Other dimensions or another number of channels than in training.
        """
        dims, wanted = image.data.ndim - 1, int(self.image["spatial_dims"])
        if dims != wanted:
            raise ImageError(
                name,
                f"is {dims}D, shape {image.data.shape[1:]}, but the model was trained on {wanted}D",
                f"Give {wanted}D images, or a model trained on {dims}D ones.",
            )
        if len(image.data) != int(self.image["channels"]):
            names = ", ".join(image.channels)
            raise ImageError(
                name,
                f"has {len(image.data)} channels ({names}), the model takes "
                f"{self.image['channels']}",
                "Name the channel: channel=NUMBER or channel=NAME.",
            )

        if not np.isfinite(image.data).any():
            raise ImageError(name, "holds no number (all NaN or infinite)", "Export it again.")

    @torch.inference_mode()
    def probability(self, data: np.ndarray) -> np.ndarray:
        """Return the probability of foreground.

        Parameters
        ----------
        data : ndarray
            (C, [Z,] Y, X), grey levels as in the file.

        Returns
        -------
        ndarray of float32
            ([Z,] Y, X), in [0, 1].
        """
        if all(plane.min() == plane.max() for plane in data):  # nothing is to be seen there
            return np.zeros(data.shape[1:], np.float32)
        rule = self.image["normalization"]
        normal = normalize(data, *intensity_statistics(data, rule))
        batch = torch.from_numpy(normal)[None]
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.inferer(batch.to(self.device), lambda x: self.network(x).float())
        return torch.sigmoid(torch.as_tensor(logits)).cpu().numpy()[0, 0]


def _device(accelerator: str) -> torch.device:
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError("accelerator", "there is no CUDA device", "Use accelerator=cpu.")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")
