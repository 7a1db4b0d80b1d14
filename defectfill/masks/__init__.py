"""Masks for new defects, in positions and shapes learnt from the references."""
