"""The model: LightningModule, heads, losses, checkpoints; importers and exporters."""
