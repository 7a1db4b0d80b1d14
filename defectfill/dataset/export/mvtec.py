"""MVTec AD's layout, which has no place for defects to learn from: they become a category of their own."""

from defectfill.dataset.export.job import Job
from defectfill.io.names import safe_name

LEARNT_FROM = "_train"
"""Behind the category's name: the category whose test images are the defects to learn from."""


def write_mvtec(job: Job) -> list[str]:
    """Write <category>/{train,test,ground_truth} and <category>_train with the defects of train; return notes."""
    category = safe_name(job.selection.category)
    for item in job.items():
        row = item.row
        is_learnt_from = row.split == "train" and row.label_index
        root = category + LEARNT_FROM * bool(is_learnt_from)
        split = "test" if row.label_index else row.split
        job.files.place_image(row, f"{root}/{split}/{item.folder}/{item.name}")
        if row.label_index:
            job.files.place_mask(row, f"{root}/ground_truth/{item.folder}/{item.name}_mask.png")
    learnt = f"defects to learn from are the test images of {category}{LEARNT_FROM}, held-out ones those of {category}"
    return [learnt] if "train" in job.splits else []
