"""Fine-tuning: transfer to other heads and channels, frozen layers, layer-wise decay."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from monai.networks.nets import DynUNet
from torch import nn

from cytoloop.errors import ConfigError, ModelError
from cytoloop.model.layer_decay import layer_decay_groups
from cytoloop.model.transfer import transfer
from cytoloop.training.callbacks.freeze import FreezeLayers
from cytoloop.training.callbacks.warm_start import WarmStart

ENCODER = r"(^|\.)(input_block|downsamples|bottleneck)(\.|$)"


def network(channels: int = 1, heads: int = 1, seed: int = 0, **changes: Any) -> DynUNet:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "spatial_dims": 2, "in_channels": channels, "out_channels": heads, "strides": [1, 2, 2],
        "kernel_size": [3] * 3, "upsample_kernel_size": [2, 2], "filters": [4, 8, 8],
        "norm_name": "batch", **changes,
    }  # fmt: skip
    return DynUNet(**settings)


def image(heads: list[str] | None = None, names: list[str] | None = None) -> dict[str, Any]:
    names = names or ["DAPI"]
    return {"heads": heads, "channels": len(names), "channel_names": names}


def answer(net: nn.Module, state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    net.load_state_dict(state)
    with torch.no_grad():
        return net.eval()(x)


def test_common_heads_keep_their_output_and_new_heads_are_initialised() -> None:
    old, new = network(), network(heads=2, seed=1)
    there, here = image(), image(["foreground", "distance"])
    found = transfer("m", old.state_dict(), new.state_dict(), there, here)
    x = torch.randn(1, 1, 16, 16)
    fresh = new.state_dict()["output_block.conv.conv.weight"][1].clone()
    both = answer(new, found.state, x)
    torch.testing.assert_close(both[:, :1], answer(old, old.state_dict(), x))
    torch.testing.assert_close(new.state_dict()["output_block.conv.conv.weight"][1], fresh)
    assert not found.new and not found.skipped
    assert (
        "2 fitted, heads foreground to foreground, distance (new: distance)" in found.summary()[1]
    )
    back = transfer("m", found.state, network(seed=2).state_dict(), here, there)
    torch.testing.assert_close(answer(old, back.state, x), both[:, :1])


def test_channels_are_matched_by_name_or_averaged() -> None:
    old = network(channels=2)
    there = image(names=["DAPI", "GFP"])
    one = transfer("m", old.state_dict(), network(seed=1).state_dict(), there, image(names=["GFP"]))
    x = torch.randn(1, 1, 16, 16)
    expected = answer(old, old.state_dict(), torch.cat([torch.zeros_like(x), x], 1))
    torch.testing.assert_close(answer(network(), one.state, x), expected)
    names = ["a", "b", "c"]
    three = transfer(
        "m", old.state_dict(), network(3, seed=1).state_dict(), there, image(names=names)
    )
    same = answer(network(3), three.state, torch.cat([x, x, x], 1))
    torch.testing.assert_close(same, answer(old, old.state_dict(), torch.cat([x, x], 1)))
    assert any("2 channels to 3 (their mean)" in line for line in three.summary())


def test_weights_that_do_not_fit_are_refused_or_initialised() -> None:
    old, new = network(), network(filters=[4, 8, 16], seed=1)
    with pytest.raises(ModelError, match="do not fit") as error:
        transfer("m", old.state_dict(), new.state_dict(), image(), image())
    assert "strict=false" in str(error.value) and "shape" in str(error.value)
    found = transfer("m", old.state_dict(), new.state_dict(), image(), image(), strict=False)
    own = new.state_dict()
    assert found.new and found.loaded
    for name in found.new:
        torch.testing.assert_close(found.state[name], own[name])
    other = {**old.state_dict(), "strange.weight": torch.zeros(2)}
    with pytest.raises(ModelError, match=r"strange.weight: only in the checkpoint"):
        transfer("m", other, network().state_dict(), image(), image())


def test_a_warm_start_lists_weights_that_do_not_fit(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in network().state_dict().items()}
    first = next(iter(state))
    shape, state[first] = tuple(state[first].shape), torch.ones(3)
    state["backbone.other"] = torch.ones(1)
    content = {"state_dict": state, "hyper_parameters": {"backbone": {}, "image": {}}}
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match="do not fit") as caught:
        WarmStart(tmp_path / "a.ckpt").setup(SimpleNamespace(), Tiny(), "fit")  # type: ignore
    text = str(caught.value)
    assert "backbone.other: only in the checkpoint" in text
    assert f"{first}: shape (3,) but the network's is {shape}" in text


class Tiny(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = network()
        self.seen: list[dict[str, torch.Tensor]] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return ((self.backbone(batch) - 1) ** 2).mean()

    def on_train_epoch_end(self) -> None:
        self.seen.append({k: v.clone() for k, v in self.backbone.state_dict().items()})

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 0.01)


def train(frozen: FreezeLayers, epochs: int = 2) -> tuple[dict, list[dict]]:
    module = Tiny()
    first = {k: v.clone() for k, v in module.backbone.state_dict().items()}
    data = torch.utils.data.DataLoader(torch.randn(8, 1, 16, 16), batch_size=4)
    trainer = Trainer(
        max_epochs=epochs, callbacks=[frozen], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module, data)
    return first, module.seen


def test_the_encoder_is_frozen_for_some_epochs_and_then_learns() -> None:
    first, (one, two) = train(FreezeLayers(ENCODER, epochs=1))
    encoder = [k for k in first if k.startswith(("input_block", "downsamples", "bottleneck"))]
    changed = [k for k in encoder if not torch.equal(first[k], one[k])]
    # batch norm counts its batches; the count has no effect
    assert encoder and not [k for k in changed if "num_batches" not in k]
    assert not torch.equal(
        first["output_block.conv.conv.weight"], one["output_block.conv.conv.weight"]
    )
    assert any(not torch.equal(one[k], two[k]) for k in encoder if k.endswith("conv.weight"))


@pytest.mark.parametrize("names", ["nothing_like_it", "."])
def test_freezing_no_weights_or_all_weights_is_refused(names: str) -> None:
    with pytest.raises(ConfigError, match=r"matches \d+ of the network's \d+ weights"):
        train(FreezeLayers(names))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="names: .* is not a regular expression"):
        FreezeLayers("(")
    with pytest.raises(ConfigError, match="epochs"):
        FreezeLayers("a", 0)


def test_rates_fall_towards_the_input_and_every_weight_has_a_rate() -> None:
    net = network()
    groups = layer_decay_groups(net, 0.1, 0.5)
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates) and rates[-1] == 0.1 and rates[0] == pytest.approx(rates[1] / 2)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted({id(p) for p in net.parameters()})
    first = {id(p) for p in net.input_block.parameters()}
    assert {id(p) for p in groups[0]["params"]} == first


@pytest.mark.parametrize(
    ("size", "warns"), [([1.0, 0.5, 0.5], False), ([1.0, 1.0, 1.0], True), (None, True)]
)
def test_a_start_at_another_voxel_size_is_warned_of(
    size: list[float] | None, warns: bool, make_model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_model(resample=True)  # at 1 x 0.5 x 0.5 um
    facts = torch.load(path, weights_only=True)["hyper_parameters"]

    class Model(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            values = {name: v for name, v in facts["backbone"].items() if name != "_target_"}
            self.backbone = DynUNet(**values)
            here = {"spacing_um": size or [1.0, 0.5, 0.5], "resample": size is not None}
            self.save_hyperparameters({"image": {**facts["image"], **here}})

    with caplog.at_level(logging.WARNING):
        WarmStart(path).setup(Trainer(logger=False), Model(), "fit")
    assert ("set data.resample='[1,0.5,0.5]'" in caplog.text) == warns
