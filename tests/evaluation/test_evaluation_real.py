"""Scores of a classical baseline on real stacks, against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import write_manifest

SPACING = (1.75, 0.8, 0.8)
NAMES = ("Emb09_t001", "Emb09_t301", "Emb09_t351", "Emb09_t501")


def baseline(raw: np.ndarray) -> np.ndarray:
    """Gaussian, Otsu, watershed on the distance map."""
    smooth = gaussian(np.log1p(raw.astype(np.float32)), 1.0)
    mask = smooth > threshold_otsu(smooth)
    distance = gaussian(ndimage.distance_transform_edt(mask, sampling=SPACING), 1.0)
    pieces, _ = ndimage.label(mask)
    peaks = peak_local_max(distance, min_distance=5, labels=pieces, exclude_border=False)
    seeds = np.zeros(raw.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, seeds, mask=mask).astype(np.uint16)


def brute_force(truth: np.ndarray, found: np.ndarray, tolerance: float) -> dict[str, float]:
    """Every pair of objects compared, as `stardist.matching` assigns them; surfaces by SciPy."""
    true = [truth == i for i in np.unique(truth) if i]
    predicted = [found == i for i in np.unique(found) if i]
    shared = np.array([[np.count_nonzero(t & p) for p in predicted] for t in true])
    sizes = np.array([t.sum() for t in true]), np.array([p.sum() for p in predicted])
    union = sizes[0][:, None] + sizes[1] - shared
    iou = shared / union
    result: dict[str, float] = {"n_truth": len(true), "n_predicted": len(predicted)}
    n = len(true) + len(predicted)
    aps = []
    for threshold in np.arange(50, 100, 5) / 100:
        cost = -(iou >= threshold).astype(float) - iou / (2 * min(iou.shape))
        pairs = linear_sum_assignment(cost)
        tp = int((iou[pairs] >= threshold).sum())
        result[f"tp_{100 * threshold:.0f}"] = tp
        aps.append(tp / (n - tp))
        if threshold == 0.5:
            quality = iou[pairs][iou[pairs] >= threshold].mean()
            result |= {"f1_50": 2 * tp / n, "rq": 2 * tp / n, "sq": quality}
            result |= {"pq": quality * 2 * tp / n, "fp_50": len(predicted) - tp}
            result |= {"recall_50": tp / len(true), "fn_50": len(true) - tp}
    result["mean_ap"] = float(np.mean(aps))
    covers, lies = shared > 0.5 * sizes[0][:, None], shared > 0.5 * sizes[1]
    result["seg"] = float((iou * covers).sum() / len(true))
    result["merges"] = int((covers.sum(axis=0) >= 2).sum())
    result["splits"] = int((lies.sum(axis=1) >= 2).sum())
    result["missed"] = int((~(covers | lies).any(axis=1)).sum())
    result["spurious"] = int((~(covers | lies).any(axis=0)).sum())
    best = iou.argmax(axis=1)
    hit = iou.max(axis=1) > 0
    rest = sizes[1].sum() - sizes[1][np.unique(best[hit])].sum() + sizes[0][~hit].sum()
    rows = np.flatnonzero(hit)
    result["aji"] = shared[rows, best[hit]].sum() / (union[rows, best[hit]].sum() + rest)
    both, volumes = ((truth > 0) & (found > 0)).sum(), ((truth > 0).sum(), (found > 0).sum())
    result["dice"] = 2 * both / sum(volumes)
    result["volume_error"] = (volumes[1] - volumes[0]) / volumes[0]
    edges = []
    for mask in (truth > 0, found > 0):
        edges.append(mask & ~ndimage.binary_erosion(mask, border_value=1))
    maps = [ndimage.distance_transform_edt(~edge, sampling=SPACING) for edge in edges]
    near = [maps[1][edges[0]], maps[0][edges[1]]]
    result["surface_dice"] = float(np.mean(np.concatenate(near) <= tolerance + 1e-6))
    result["hd95"] = max(float(np.percentile(one, 95)) for one in near)
    return result


@pytest.mark.realdata
def test_scores_of_the_classical_baseline_equal_brute_force(
    real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "bbbc050"
    rows = []
    for name in NAMES:
        found = baseline(read_image(folder / f"images/{name}.tif").data[0])
        write_image(tmp_path / f"{name}.tif", found, "ZYX")
        rows.append({"id": name, "seg1": str(folder / f"labels/{name}.tif"), "group": "Emb09"})
    write_manifest(tmp_path / "truth.csv", rows)
    settings = EvaluationSettings(tolerance_um=1.6, spacing_um=SPACING, resamples=100)
    evaluation = evaluate(tmp_path / "*.tif", tmp_path / "truth.csv", settings)
    assert evaluation.summary["scored"] == len(NAMES)
    for row in evaluation.rows:
        truth = read_labels(folder / f"labels/{row['id']}.tif")
        for key, value in brute_force(
            truth, read_labels(tmp_path / f"{row['id']}.tif"), 1.6
        ).items():
            assert row[key] == pytest.approx(value, rel=1e-5), (row["id"], key)
    pooled = evaluation.summary["pooled"]
    assert pooled["n_truth"] > 40 and 0.5 < pooled["f1_50"] < 1 and pooled["dice"] > 0.8
    assert pooled["merges"] + pooled["splits"] > 0
