"""Curation with real microscopy and other programs, and the packages that its import loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cytoloop.curation import CurationSettings, curate, validate_dataset
from cytoloop.errors import ManifestError
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import CYTODL_COLUMNS, read_dataset


def test_curation_import_leaves_heavy_packages_out() -> None:
    heavy = ["torch", "pandas", "bioio", "cyto_dl", "lightning", "mlflow", "skimage", "scipy",
             "hydra", "monai", "matplotlib", "rich.progress"]  # fmt: skip
    code = f"import sys, cytoloop.curation; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.realdata
def test_curation_of_embryos_by_embryo(real_data: Path, tmp_path: Path) -> None:
    times = ["t351", "t401", "t451", "t501"]
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for name in [f"{e}_{t}.tif" for e in ("Emb01", "Emb02", "Emb09") for t in times]:
            (tmp_path / kind / name).symlink_to(real_data / "bbbc050" / kind / name)
    result = curate(
        CurationSettings(
            raw=tmp_path / "images",
            seg1=tmp_path / "labels",
            key=r"(?P<id>Emb\d+_t\d+)",
            output=str(tmp_path / "dataset"),
            group=r"(?P<group>Emb\d+)",
            test=["Emb09"],
            valid=["Emb02"],
            spacing_um=[1.75, 0.8, 0.8],
        )
    )
    dataset = read_dataset(tmp_path / "dataset")
    for split, embryo in (("train", "Emb01"), ("valid", "Emb02"), ("test", "Emb09")):
        assert [row.id for row in dataset[split]] == [f"{embryo}_{time}" for time in times]
        assert {row.spacing_um for row in dataset[split]} == {(1.75, 0.8, 0.8)}
    assert result.checks["Emb01_t351"].objects == 16
    checks = validate_dataset(dataset)
    assert all(check.problems == () for split in checks.values() for check in split)


def test_curation_checks_the_data_set_of_another_tool(images_3d: Path, tmp_path: Path) -> None:
    """The Segmenter ML plugin writes an unnamed index, absolute paths and six columns."""
    for split, numbers in (("train", (0, 1, 2)), ("val", (3,)), ("test", (3,))):
        lines = [",raw,seg1,seg2,merge_mask,exclude_mask,base_image"]
        for i in numbers:
            raw, seg = (images_3d / kind / f"img_{i}.tif" for kind in ("raw", "seg"))
            lines.append(f"{i},{raw},{seg},,,,seg1")
        (tmp_path / f"{split}.csv").write_text("\n".join(lines) + "\n")
    dataset = read_dataset(tmp_path)
    used = {split: dataset[split] for split in ("train", "valid")}
    assert [check.objects for check in validate_dataset(used)["valid"]] == [5]
    with pytest.raises(
        ManifestError, match=r"test.csv: row 1 \(img_3\).*same image as img_3 in 'valid'"
    ):
        validate_dataset(dataset)  # the plugin's test images are its validation images


@pytest.mark.parametrize("shape", [(8, 32, 32), (48, 56)])
def test_curation_is_read_by_plain_cytodl(shape: tuple[int, ...], tmp_path: Path, blobs) -> None:
    from cyto_dl.datamodules.dataframe import DataframeDatamodule
    from cyto_dl.datamodules.dataframe.utils import RemoveNaNKeysd
    from cyto_dl.image.io import MonaiBioReader, PolygonLoaderd
    from monai.transforms import Compose, LoadImaged

    axes = "ZYX"[-len(shape) :]
    for number in range(4):
        raw, labels = blobs(shape, 3, number)
        write_image(tmp_path / "raw" / f"f{number}.ome.tif", raw, axes)
        write_image(tmp_path / "seg" / f"f{number}.ome.tif", labels, axes)
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "f1.npy", np.array([[[0, 0], [0, 9], [9, 9], [9, 0]]], float))
    curate(
        CurationSettings(
            raw=str(tmp_path / "raw"),
            seg1=str(tmp_path / "seg"),
            exclude=str(tmp_path / "masks") if len(shape) == 3 else None,  # CytoDL fails in 2D
            output=str(tmp_path / "dataset"),
            paths="absolute",
            valid=["f2"],
            test=["f3"],
        )
    )
    reader = MonaiBioReader(dimension_order_out="C" + axes, C=[0])
    chain = [RemoveNaNKeysd(), LoadImaged(keys=["raw", "seg1"], reader=[reader])]
    if len(shape) == 3:
        chain.append(PolygonLoaderd(keys=["exclude_mask"], shape_reference_key="seg1",
                                    missing_key_mode="create"))  # fmt: skip
    module = DataframeDatamodule(
        path=str(tmp_path / "dataset"),
        transforms=dict.fromkeys(["train", "val", "test", "predict"], Compose(chain)),
        columns=list(CYTODL_COLUMNS),
        num_workers=0,
        batch_size=1,
        shuffle=False,
    )
    assert {name: len(part) for name, part in module.datasets.items()} == {
        "train": 2, "val": 1, "test": 1, "predict": 4
    }  # fmt: skip
    batches = list(module.train_dataloader())
    for number, batch in enumerate(batches):
        expected = read_image(tmp_path / "raw" / f"f{number}.ome.tif").data
        np.testing.assert_array_equal(batch["raw"][0].numpy(), expected)
        assert batch["base_image"] == ["seg1"] and batch["seg1"].shape == batch["raw"].shape
    if len(shape) == 3:
        excluded = [int((batch["exclude_mask"] == 0).sum()) for batch in batches]
        assert excluded[0] == 0 and excluded[1] == 8 * 10 * 10
