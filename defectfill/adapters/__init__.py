"""The training step: one LoRA adapter per defect."""
