"""The architecture of a DynUNet, inferred from the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cytoloop.errors import ModelError


def infer_dynunet(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return class and arguments of the MONAI DynUNet that has these weights.

    The strides of the encoder are those of the decoder, because skip connections need equal
    sizes. The weights do not show the activation and all kinds of normalization layers. CytoDL's
    are assumed: leaky ReLU, and instance normalization if there is no running mean.

    Raises
    ------
    ModelError
        The weights are not those of a DynUNet.
    """
    levels = ["input_block"]
    while f"downsamples.{len(levels) - 1}.conv1.conv.weight" in weights:
        levels.append(f"downsamples.{len(levels) - 1}")
    levels.append("bottleneck")
    try:
        first = [weights[f"{level}.conv1.conv.weight"] for level in levels]
        ups = [weights[f"upsamples.{n}.transp_conv.conv.weight"] for n in range(len(levels) - 1)]
        out = weights["output_block.conv.conv.weight"]
        dims = first[0].ndim - 2
        if dims not in (2, 3) or any(w.ndim != dims + 2 for w in (*first, *ups, out)):
            raise KeyError("kernels of the same dimensions")
    except (KeyError, IndexError) as error:
        raise ModelError(
            str(path),
            "has no architecture, no config beside it has one, and the weights are not those of a "
            f"DynUNet (no {error.args[0]})",
            "Put the train_config.yaml of its training into its folder or the folder above.",
        ) from error
    up = [list(weight.shape[2:]) for weight in reversed(ups)]
    supervised = {key.split(".")[1] for key in weights if key.startswith("deep_supervision_heads.")}
    norm = "BATCH" if "input_block.norm1.running_mean" in weights else "INSTANCE"
    return {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": dims,
        "in_channels": first[0].shape[1],
        "out_channels": out.shape[0],
        "kernel_size": [list(weight.shape[2:]) for weight in first],
        "strides": [[1] * dims, *up],
        "upsample_kernel_size": up,
        "filters": [weight.shape[0] for weight in first],
        "norm_name": [norm, {"affine": "input_block.norm1.weight" in weights}],
        "res_block": any(".conv3." in key for key in weights),
        "trans_bias": "upsamples.0.transp_conv.conv.bias" in weights,
        **({"deep_supervision": True, "deep_supr_num": len(supervised)} if supervised else {}),
    }
