"""Evaluation of datasets and paintings: a detector, a classifier of defects, and metrics."""
