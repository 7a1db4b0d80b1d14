"""Records that rooms share: above all the row models of the tables on disk, from which their schemas come."""
