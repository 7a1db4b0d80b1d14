"""The finished dataset: written, described, shown and verified."""
