"""Training of a small base of one's own."""
