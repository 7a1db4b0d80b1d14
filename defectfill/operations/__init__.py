"""What is done to a category as a whole: checked, prepared, locked, synced with storage, reported, cleaned up."""
