"""The row models of the tables on disk, from which their schemas come."""
