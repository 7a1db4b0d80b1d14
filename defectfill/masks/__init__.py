"""Masks for new defects, in the places and shapes of the references."""
