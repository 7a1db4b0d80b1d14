"""A run on disk: its record and key, its plan, its shards."""
