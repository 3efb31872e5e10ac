from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from cytoloop.errors import ConfigError
from cytoloop.training.prepare.plan.choice import Choice
from cytoloop.training.prepare.plan.file import read_plan, write_plan

CHOICES = [
    Choice("model.backbone.strides", [1, [1, 2, 2], 2], "voxels are long"),
    Choice("features", 16, "planes are cheap: # not {so} [much]"),
    Choice("data.patch_size", [16, 64, 64], "a reason " * 40),
    Choice("data.batch_size", 2, "memory"),
    Choice("normalization.upper", 99.8, "objects"),
    Choice("model.image.object_voxels", 1234.5, "mean"),
]


def test_a_plan_comes_back_as_it_was_written_with_its_reasons(tmp_path: Path) -> None:
    path = tmp_path / "run" / "plan.yaml"
    write_plan(path, CHOICES, ["7 images: all of them"])
    assert read_plan(path) == {one.key: one.value for one in CHOICES}
    text = path.read_text()
    assert text.startswith("# @package _global_\n") and max(map(len, text.split("\n"))) <= 100
    assert "    # voxels are long\n    strides: [1, [1, 2, 2], 2]\n" in text
    assert text.count("data:") == 1 and text.count("model:") == 1
    assert "#   7 images: all of them" in text


def test_a_plan_is_a_config_of_hydra(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.yaml", CHOICES, [])
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert compose("plan").data.patch_size == [16, 64, 64]


def test_an_edited_plan_is_read_and_a_line_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("data:\n  patch_size: [8, 32, 32]\nlayers: 3\n")
    assert read_plan(path) == {"data.patch_size": [8, 32, 32], "layers": 3}


def test_every_fault_of_a_plan_is_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    content = {
        "features": "${oc.env:HOME}",
        "layers": 9,
        "data": {"patch_size": [1, "x"], "batch_size": True, "path": "/etc"},
        "model": {
            "_target_": "os.system",
            "backbone": {"strides": [1, 3], "kernel_size": [3, 2], "_target_": "os.system"},
            "image": 3,
        },
        "normalization": {"upper": float("nan")},
    }
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="11 problems") as caught:
        read_plan(path)
    text = str(caught.value)
    for part in (
        "model._target_: not a key",
        "data.path: not a key",
        "layers is 9",
        "batch_size is True",
    ):
        assert part in text
    assert "strides is list, expected 1 or 2" in text and "features is '${oc.env:HOME}'" in text


@pytest.mark.parametrize(
    "text, reason",
    [
        ("- 1\n- 2\n", "expected keys and values"),
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("# " + "x" * 200_000, "too large"),
    ],
)
def test_a_file_that_is_not_a_plan(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_plan(path)


def test_a_missing_plan(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such plan"):
        read_plan(tmp_path / "plan.yaml")


def test_nested_yaml_anchors_are_not_expanded(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}" for n in range(1, 60)]
    path = tmp_path / "plan.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="not a key of a plan"):
        read_plan(path)
