"""The report of a run: a folder that a browser opens from disk, to look at the run and to review its samples."""
