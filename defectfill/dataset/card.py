"""The dataset's README.md."""

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from defectfill.dataset.annotated import annotation_margin_px
from defectfill.dataset.leakage import leakage_section
from defectfill.io.markdown import plain
from defectfill.records.leakage import read_certificate
from defectfill.records.manifest import SPLIT_TABLES, count_rows
from defectfill.records.snapshot import white_level_in
from defectfill.runs.run import Run
from defectfill.runs.verdict import read_verdict


def dataset_card(run: Run, folder: Path) -> str:
    """Return README.md of the dataset in a folder: what is in it, how it was made, how to read it."""
    config = run.config
    counts = count_rows(pq.read_table(folder / "manifest.parquet", columns=["defect", "split", "origin"]))
    table = [
        f"| {plain(defect)} | {split} | {origin} | {count} |"
        for (defect, split, origin), count in sorted(counts.items())
    ]
    reasons: Counter[str] = Counter(
        pq.read_table(folder / "rejected.parquet", columns=["reason"])["reason"].to_pylist()
    )
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none"
    labels = {"drawn": "masks", "planned": "planned_masks", "annotated": "annotated_masks"}[config.dataset.label]
    margins = ""
    if config.dataset.label == "annotated":
        each = (f"{annotation_margin_px(run.folder, defect)} px for {plain(defect)}" for defect in config.data.defects)
        margins = (
            "\n  `annotated_masks/` is that grown by as much as the references' masks reach beyond what one sees: "
            f"{', '.join(each)}."
        )
    white = white_level_in(run.snapshot())
    range_of_values = f"- White is {white} of 65535 in images of 16 bits.\n" if white else ""
    there = {split for _, split, _ in counts}
    tables = {split: name for split, name in SPLIT_TABLES.items() if split in there}
    splits = [f'  - split: {split}\n    path: [{name}, "images/**", "{labels}/**"]' for split, name in tables.items()]
    stamp, leakage = _leakage(folder)
    return f"""---
task_categories: [image-segmentation]
tags: [synthetic, anomaly-detection, defectfill{stamp}]
configs:
- config_name: default
  metadata_filenames: [{", ".join(tables.values())}]
  data_files:
{os.linesep.join(splits)}
---
# {plain(config.category)}: real and synthetic defects

| defect | split | origin | images |
| --- | --- | --- | --- |
{os.linesep.join(table)}

Rejected and kept apart in `rejected.parquet`: {refused}.

- `manifest.parquet` has one row per image with its mask, hashes and how it was made; `metadata.parquet` is the
  small table that Hugging Face's imagefolder reads. The column `split` says what may be trained on:
  `datasets.load_dataset(<this folder>)` gives `train` and `test` apart.
- Labels of synthetic images (`dataset.label: {config.dataset.label}`) are in `{labels}/`. `masks/` has the pixels that
  were pasted, outside of which every pixel is the source photograph's own; `planned_masks/` where the defect was asked
  for.{margins}
- Draw training images by `sampling_weight`: real references then keep {config.dataset.real_share:.0%} of the draws
  of their defect.
- Painted by {_painted_by(run)}, seed {config.seed}.
{range_of_values}- The images derive from the photographs they were painted on and inherit their licence.
{leakage}{_judged(run, folder)}
Check it at any time: `defectfill verify <this folder>`.
"""


def _judged(run: Run, folder: Path) -> str:
    """Return the section that says whether the dataset helps; empty where that was not evaluated."""
    verdict = read_verdict(run, folder)
    if verdict is None:
        return ""
    sentences = "\n".join(f"- {plain(each.sentence)}." for each in verdict.defects.values())
    return f"""
## Does it help?

{sentences}

By `defectfill evaluate`: detectors of several arms, tested on the held-out real images alone. All figures are in
`evaluation/table.md` beside this dataset.
"""


def _painted_by(run: Run) -> str:
    """Return in words which painter made the images, and how one of its candidates was chosen."""
    base, generate = run.record.base, run.config.generate
    best = "the one that fits its mask and the references best"
    if generate.uses_base:
        adapters = "for all defects" if run.config.train.joint else "per defect"
        chosen = {"lfs": "the least reconstructed", "balanced": best}[generate.choice]
        return (
            f"{plain(base.model)} ({base.revision[:12]}) with one DefectFill adapter {adapters},\n"
            f"  {generate.steps} steps of {generate.solver}, guidance {generate.guidance_scale:g}, of\n"
            f"  {generate.candidates} candidates {chosen}"
        )
    how = {
        "paste": "`generate.painter: paste`, without a model: a reference's defect, turned and scaled into\n"
        "  the planned mask and matched in brightness",
        "perlin": "`generate.painter: perlin`, without a model: the planned mask is filled with a random\n"
        "  material, as in DRAEM",
    }[generate.painter]
    several = generate.painter == "paste" and generate.choice == "balanced"
    return how + (f"; of {generate.candidates} candidates\n  {best}" if several else "")


def _leakage(folder: Path) -> tuple[str, str]:
    """Return the tag of a leaky dataset and the section about leaks; both empty where there is no certificate."""
    certificate = read_certificate(folder / "manifest.parquet")
    if certificate is None:
        return "", ""
    return ", leaky" if certificate.is_leaky else "", f"\n{leakage_section(certificate)}\n"
