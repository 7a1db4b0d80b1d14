"""For anomalib: a folder tree and a csv for its data modules, and a data module of our own for supervised models.

Its own ones, Folder and Tabular, take defects for testing alone, while its models Supersimplenet and UniNet learn from
them; `supervised.py` in the export hands them over.
"""

import csv
from contextlib import ExitStack

from defectfill.dataset.export.job import Job
from defectfill.io.files import write_bytes

COLUMNS = ("image_path", "label", "label_index", "mask_path", "split")
"""No others: Tabular refuses a table with an empty value in any column but mask_path."""
TABLES = {"samples.csv": ("train normals", "test"), "supervised.csv": ("train normals", "train defects", "test")}
"""Table -> which rows it has; Tabular refuses defects in train."""

SUPERVISED = '''"""A data module with defects in train, for anomalib's supervised models.

    from anomalib.engine import Engine
    from anomalib.models import Supersimplenet
    from supervised import Defects

    Engine(max_epochs=300).fit(Supersimplenet(supervised=True), datamodule=Defects())
"""

from pathlib import Path

import pandas as pd
from anomalib.data import AnomalibDataModule, AnomalibDataset

ROOT = Path(__file__).resolve().parent


class DefectsDataset(AnomalibDataset):
    def __init__(self, split, augmentations=None):
        super().__init__(augmentations=augmentations)
        samples = pd.read_csv(ROOT / "supervised.csv", keep_default_na=False)
        samples = samples[samples["split"] == split].reset_index(drop=True)
        for column in ("image_path", "mask_path"):
            samples[column] = [str(ROOT / path) if path else "" for path in samples[column]]
        samples.attrs["task"] = "segmentation"
        self.samples = samples


class Defects(AnomalibDataModule):
    def __init__(self, train_batch_size=32, eval_batch_size=32, num_workers=8, val_split_mode="from_train", **settings):
        settings = {"val_split_ratio": 0.2, "seed": 0} | settings
        super().__init__(train_batch_size, eval_batch_size, num_workers, val_split_mode=val_split_mode, **settings)

    def _setup(self, _stage=None):
        self.train_data, self.test_data = DefectsDataset("train"), DefectsDataset("test")

    def _create_test_split(self):
        """Leave the test split as it is: held-out images alone."""
'''


def write_anomalib(job: Job) -> list[str]:
    """Write images in <split>/<defect>, masks in masks/<split>/<defect>, the tables and supervised.py; return notes.

    A mask has its image's path and name, so that Folder, which pairs both by their order, pairs them rightly.
    """
    with ExitStack() as stack:
        writers = {}
        for name in TABLES:
            file = stack.enter_context((job.files.folder / name).open("w", encoding="utf-8", newline=""))
            writers[name] = csv.writer(file, lineterminator="\n")
            writers[name].writerow(COLUMNS)
        for item in job.items():
            row, mask = item.row, ""
            image = job.files.place_image(row, f"{row.split}/{item.folder}/{item.name}")
            if row.label_index:
                mask = f"masks/{row.split}/{item.folder}/{item.name}.png"
                job.files.place_mask(row, mask)
            kind = "test" if row.split == "test" else "train defects" if row.label_index else "train normals"
            for name, kinds in TABLES.items():
                if kind in kinds:
                    writers[name].writerow([image, row.defect, row.label_index, mask, row.split])
    write_bytes(job.files.folder / "supervised.py", SUPERVISED.encode())
    return ["samples.csv is for Tabular; defects to learn from are in supervised.csv alone, which supervised.py reads"]
