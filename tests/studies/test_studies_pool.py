"""The pool of a study: its best combination's models predict it, and `cytoloop rank` ranks it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import make_images

from cytoloop.__main__ import main


def write_study(folder: Path, models: dict[str, Path | None], scores: dict[str, float]) -> None:
    """Write the tables of a study whose runs have these models and scores; keys: level + seed."""
    rows = []
    for name, model in models.items():
        run = folder / "runs" / name
        (run / "test/evaluation").mkdir(parents=True)
        lines = [f"i{n},,{scores[name] + n / 100}\n" for n in range(6)]
        (run / "test/evaluation/metrics.csv").write_text("id,group,f1_50\n" + "".join(lines))
        if model is not None:
            (run / "checkpoints").mkdir()
            shutil.copy(model, run / "checkpoints/best.ckpt")
        levels = {"run": name, "kind": name[:-1], "seed": name[-1], "status": "done"}
        rows.append({**levels, "minutes": "1", "train_images": "4", "folder": f"runs/{name}"})
    factors = {"kind": sorted({name[:-1] for name in models})}
    (folder / "study.json").write_text(json.dumps({"factors": factors, "score": "f1_50"}))
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_models_of_the_best_combination_rank_the_pool_for_the_report(
    project: Path, make_model: Callable[..., Path]
) -> None:
    make_images(project / "pool", 3, (32, 32))
    models: dict[str, Path | None] = {
        "good1": make_model(2, seed=1),
        "good2": make_model(2, seed=2),
        "poor1": make_model(2, seed=3),
        "tool1": None,  # another program's predictions: the best score, no model
    }
    write_study(project / "s", models, {"good1": 0.8, "good2": 0.7, "poor1": 0.2, "tool1": 0.95})
    words = ["rank", "models_of=s", "input=pool/raw", "workers=1"]
    assert main([*words, "count=2"]) == 0
    folder = project / "s/next"
    assert sorted(path.name for path in (folder / "models").iterdir()) == ["good1", "good2"]
    rows = list(csv.DictReader((folder / "ranked.csv").open(newline="")))
    assert sorted(row["id"] for row in rows) == ["img_0", "img_1", "img_2"]
    assert all(0 <= float(row["disagreement"]) <= 1 and Path(row["seg1"]).is_file() for row in rows)
    assert main(["report", "study=s"]) == 0
    page = (project / "s/report.html").read_text()
    assert "Images to label next" in page and page.count(f'<td class="text">{rows[0]["id"]}<') == 1
    assert f'<td class="text">{rows[2]["id"]}<' not in page  # count=2
    shutil.rmtree(project / "s/runs/good1/checkpoints")
    shutil.rmtree(project / "s/runs/good2/checkpoints")
    shutil.rmtree(folder)
    assert main([*words, "order=uncertainty"]) == 0  # the next best that is there
    assert [path.name for path in (folder / "models").iterdir()] == ["poor1"]
