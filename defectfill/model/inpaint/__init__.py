"""Sampling: the diffusion painter."""
