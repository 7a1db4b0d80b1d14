"""A category on shared storage: what a step needs is fetched into the local copy, and what it made is uploaded.

With roots that are folders there is nothing to do, and every function returns at once. What is uploaded counts as
there once its last file is: training.json of an adapter, `digest` of a shard, plan.parquet of a plan, finished.json of
a dataset. So whoever dies while uploading or fetching leaves nothing that another takes for whole.
"""
