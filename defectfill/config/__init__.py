"""A run's config: one YAML file per product category, checked whole before anything runs."""
