"""Files, images, hashes, storage, progress and errors: what every room stands on."""
