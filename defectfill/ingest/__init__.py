"""The real images of a category: found, checked, divided."""
