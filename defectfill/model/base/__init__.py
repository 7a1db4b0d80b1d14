"""The frozen inpainting base."""
