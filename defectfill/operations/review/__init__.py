"""The review of a run: what people decided on its samples, and how far the gates agree."""
