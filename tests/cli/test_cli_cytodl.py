"""CytoDL's experiments on the command line: found, refused, and their resolvers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoloop.__main__ import main
from cytoloop.cli import cytodl_experiments
from cytoloop.cli.cytodl_experiments import add_output_folder, evaluate, find_experiment
from cytoloop.errors import ConfigError


def test_expressions_of_cytodl_configs_are_computed() -> None:
    assert evaluate("'CZYX' if 3==3 else 'CYX'") == "CZYX"
    assert evaluate("None if 2==3 else 38") == 38
    assert evaluate("3+3") == 6


@pytest.mark.parametrize("text", ["__import__('os').getcwd()", "spatial_dims", "1/0", "(1).real"])
def test_an_expression_cannot_run_code(text: str) -> None:
    with pytest.raises(ConfigError, match="is not constants, arithmetic, comparisons and if-else"):
        evaluate(text)


def test_output_sets_the_output_folder_of_cytodl() -> None:
    folder = "paths.output_dir=${hydra:runtime.output_dir}"
    assert add_output_folder(["output=out"]) == ["output=out", folder]
    assert add_output_folder(["seed=1", "paths.output_dir=out"]) == ["seed=1", "output=out", folder]
    assert add_output_folder(["output=out", folder]) == ["output=out", folder]  # resumed


@pytest.mark.parametrize(
    "name, reason",
    [
        ("private/mnist_so2", "escnn"),
        ("contrastive/vicreg", "needs torchvision"),
        ("classification/per_timepoint", "returns no images"),
        ("im2im/segmentation_plugn", "expected one of .*\\nDid you mean im2im/segmentation_plugin"),
    ],
)
def test_experiments_that_do_not_run_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        find_experiment([f"experiment={name}"], [])


def test_without_cytodl_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cytodl_experiments, "config_folder", lambda: None)
    with pytest.raises(ConfigError) as found:
        find_experiment(["experiment=im2im/segmentation"], [])
    assert 'pip install "cytoloop[cytodl]"' in str(found.value)
    assert "pip install --no-deps cyto-dl==0.6.2" in str(found.value)
    assert find_experiment(["experiment=nuclei_3d"], []) is None


def test_all_values_that_must_be_overridden_are_named(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "experiment=im2im/segmentation_plugin", "output=out"]) == 2
    text = capfd.readouterr().err
    for key in ("data.path", "data.num_workers", "model._aux.filters", "spatial_dims"):
        assert f"{key}=... is missing" in text
    assert "paths.output_dir" not in text
