"""Curation of real microscopy: embryos, wells, HDF5, scenes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cytoloop.curation import CurationSettings, append_decision, curate, validate_dataset
from cytoloop.manifest import Row, read_dataset, read_manifest
from cytoloop.truth.targets import read_target

pytestmark = pytest.mark.realdata
SPACING = [1.75, 0.8, 0.8]


def rows_of(folder: Path) -> dict[str, Row]:
    return {row.id: row for row in read_manifest(folder / "dataset.csv")}


def embryos(data: Path, which: str, times: str = "351,451", **changes: object) -> CurationSettings:
    given = {
        "raw": f"{data}/bbbc050/images/Emb0{{{which}}}_t{{{times}}}.tif",
        "seg1": f"{data}/bbbc050/labels/Emb0{{{which}}}_t{{{times}}}.tif",
        "key": r"(?P<id>Emb\d+_t\d+)",
        "group": r"(?P<group>Emb\d+)",
        "spacing_um": SPACING,
    }
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def test_embryos_stay_together_over_rounds_folds_and_decisions(
    real_data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "dataset"
    curate(embryos(real_data, "1,2,3,4", output=output, folds=3, test=["Emb04"], report=True))
    first = rows_of(output)
    for column in ("split", "fold"):
        found = {(row["group"], row[column]) for row in first.values()}
        assert len(found) == 4
    assert "data:image/webp" in (output / "report.html").read_text()
    append_decision(
        output / "decisions.csv",
        {"id": "Emb02_t451", "exclude": "outside_labels(3um); labels(1)", "curator": "Ann"},
    )
    append_decision(output / "decisions.csv", {"id": "Emb01_t351", "decision": "reject"})
    result = curate(embryos(real_data, "1,2,3,4,5,6", output=output, folds=3, test=0.2))
    rows = rows_of(output)
    assert {n: rows[n]["split"] for n in first} == {n: r["split"] for n, r in first.items()}
    assert (result.counts["images"], result.counts["reject"]) == (12, 1)
    labels, valid = read_target(rows["Emb02_t451"])
    outside = np.ones(labels.shape, bool)
    spans = [(int(a.min()), int(a.max())) for a in np.nonzero(labels)]
    margins = (2, 4, 4)  # 3 um in voxels of 1.75 x 0.8 x 0.8
    outside[
        tuple(slice(max(a - m, 0), b + m + 1) for (a, b), m in zip(spans, margins, strict=True))
    ] = False
    assert (valid == ~(outside | (labels == 1))).all()
    validate_dataset(read_dataset(output))


def test_wells_in_2d_with_a_second_segmentation_and_a_bad_file(
    real_data: Path, tmp_path: Path
) -> None:
    import tifffile
    from skimage.filters import threshold_otsu

    names = sorted(p.name for p in (real_data / "dsb2018" / "images").glob("*.tif"))[::40]
    for number, name in enumerate(names):
        raw = tifffile.imread(real_data / "dsb2018" / "images" / name)
        (tmp_path / "otsu").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "otsu" / name, (raw > threshold_otsu(raw)).astype(np.uint8))
        table = {"raw": real_data / "dsb2018" / "images" / name, "seg2": tmp_path / "otsu" / name}
        table["seg1"] = real_data / "dsb2018" / "masks" / name
        with (tmp_path / "table.csv").open("a", newline="") as file:
            if number == 0:
                csv.writer(file).writerow(["raw", "seg1", "seg2"])
            csv.writer(file).writerow([table["raw"], table["seg1"], table["seg2"]])
    box = [[[5, 5], [5, 100], [100, 100], [100, 5]]]
    np.save(tmp_path / "box.npy", np.array(box, float))
    ids = [Path(name).stem for name in names]
    log = tmp_path / "log.csv"
    append_decision(log, {"id": ids[0], "merge": "box.npy"})
    append_decision(log, {"id": ids[1], "exclude": "box.npy"})
    given = {"raw": tmp_path / "table.csv", "decisions": log}
    curate(CurationSettings(**given, output=tmp_path / "a"))
    curate(CurationSettings(**given, output=tmp_path / "b", materialize=True))
    loaded, written = rows_of(tmp_path / "a"), rows_of(tmp_path / "b")
    for name in ids:
        one, other = read_target(loaded[name]), read_target(written[name])
        assert (one[0] == other[0]).all() and (one[1] == other[1]).all()
    merged = read_target(loaded[ids[0]])[0]
    otsu = tifffile.imread(tmp_path / "otsu" / names[0]) > 0
    assert ((merged[5:100, 5:100] > 0) == otsu[5:100, 5:100]).all()
    assert not read_target(loaded[ids[1]])[1][5:100, 5:100].any()


def test_hdf5_with_raw_and_labels_in_one_file(real_data: Path, tmp_path: Path) -> None:
    files = str(real_data / "ovules" / "ovule_nuclei_*.h5")
    settings = {"raw": files, "scene": "raw", "seg1": files, "output": tmp_path / "d"}
    with pytest.raises(ValueError, match="is the raw image itself"):
        curate(CurationSettings(**settings))  # type: ignore[arg-type]
    curate(CurationSettings(**settings, scene_seg1="label", test=0))  # type: ignore[arg-type]
    rows = rows_of(tmp_path / "d")
    labels, _ = read_target(rows["ovule_nuclei_1135_mini"])
    assert labels.shape == (100, 100, 100) and len(np.unique(labels)) == 55
    assert rows["ovule_nuclei_1135_mini"]["spacing_um"].startswith("0.28")
    validate_dataset(read_dataset(tmp_path / "d"))
