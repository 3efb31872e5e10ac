"""The network: a LightningModule on CytoDL's BaseModel, heads, losses, checkpoints."""
