"""The LoRA adapter in a base and in its file."""

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""In the folder of an adapter: the name by which diffusers finds it."""
