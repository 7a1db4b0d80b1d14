"""The leakage certificate of a dataset: made when it is written, told in its card, checked again by `verify`."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from defectfill.config.run import RunConfig
from defectfill.ingest.find import mask_files
from defectfill.ingest.leaks import FOLDER_KEY, find_leaks
from defectfill.masks.held_out import HELD_OUT
from defectfill.records.leakage import Certificate, Leak
from defectfill.records.manifest import REJECTED_SCHEMA, ManifestRow
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.plan import plan_table
from defectfill.runs.run import Run
from mask_sampling.sampling import FOLDER

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger(__name__)

NAMED = 20
"""Leaks that the card names."""
UNTOLD = "and the leakage certificate says nothing of it"
COLUMNS = ["defect", "source_path", "planned_mask_path", "planned_mask_sha256", "mask_sampler"]


def certify(run: Run, real: Sequence[ManifestRow], painted: Iterable[pa.Table]) -> Certificate:
    """Return what of the test split reached the samples of a run.

    real: the rows of the snapshot's images, in its order. painted: those of the samples, with their paths in the run.
    """
    records = run.snapshot()
    kept = (table.filter(pc.equal(table["reason"], "")).select(COLUMNS) for table in painted)
    rows = pa.concat_tables([REJECTED_SCHEMA.empty_table().select(COLUMNS), *kept]).to_pandas()
    twins = {row.mask_sha256: record.mask_path for record, row in zip(records, real, strict=True)}
    rows["held_out_mask"] = _held_out_masks(run, records, twins, rows)
    used = sorted({path for path in rows["held_out_mask"] if path})
    leaks = find_leaks(run.config, records)
    leaks += [Leak(kind="planned_mask", path=path, held_out=path, likeness=1.0) for path in used]
    made = [_made_from(run.config, records, leak, rows) for leak in leaks]
    roles = Counter(record.role for record in records)
    certificate = Certificate(
        normals=roles["normal"],
        references=roles["reference"],
        folder_masks=sum(key.startswith(FOLDER_KEY) for key in mask_files(run.config.masks)),
        synthetic=len(rows),
        held_out=roles["held_out"],
        test_normals=roles["test_normal"],
        leaks=tuple(leak.model_copy(update={"samples": int(of.sum())}) for leak, of in zip(leaks, made, strict=True)),
        samples=int(np.any(made, axis=0).sum()) if made else 0,
    )
    if certificate.is_leaky:
        log.warning(certificate.verdict)
    return certificate


def _made_from(config: RunConfig, records: Sequence[ImageRecord], leak: Leak, rows: "DataFrame") -> NDArray[np.bool_]:
    """Return for each row of a sample [N] whether it was made from what leaks."""
    if leak.kind == "normal":
        return np.asarray(rows["source_path"] == leak.path)
    if leak.kind == "folder_mask":
        return np.asarray([FOLDER in sampler.split("+") for sampler in rows["mask_sampler"]], dtype=bool)
    if leak.kind == "planned_mask":
        return np.asarray(rows["held_out_mask"] == leak.path)
    of = {record.defect for record in records if leak.path in (record.path, record.mask_path)}
    return np.asarray(
        rows["defect"].isin([each for each in config.data.defects if of & {*config.defects_learnt_with(each)}])
    )


def _held_out_masks(run: Run, records: Sequence[ImageRecord], twins: Mapping[str, str], rows: "DataFrame") -> list[str]:
    """Return for each row of a sample the held-out mask that its planned mask is, or nothing.

    twins: mask of a real image by the hash of the file that it was written to, which the pixels alone decide. Of a mask
    that was stretched to the size of its normal only the plan knows what it was.
    """
    held_out = {record.mask_path: record for record in records if record.role == "held_out"}
    planned: dict[str, str] = {}
    for defect in run.config.data.defects if run.config.masks.source == HELD_OUT else ():
        named = {Path(record.path).stem: path for path, record in held_out.items() if record.defect == defect}
        plan = plan_table(run, defect, columns=["planned_mask_path", "mask_like", "reason"]).to_pylist()
        planned |= {row["planned_mask_path"]: named[row["mask_like"][0]] for row in plan if not row["reason"]}
    found = (twins.get(sha256, "") for sha256 in rows["planned_mask_sha256"])
    pairs = zip(rows["planned_mask_path"], found, strict=True)
    return [planned.get(path, twin if twin in held_out else "") for path, twin in pairs]


def leakage_section(certificate: Certificate) -> str:
    """Return the section of the card."""
    each = certificate
    lines = [
        "## Leakage",
        "",
        f"**{each.verdict[0].upper()}{each.verdict[1:]}.** When the dataset was written {each.normals} normals and "
        f"{each.references} references were compared with {each.held_out} held-out images and {each.test_normals} test "
        f"normals, by perceptual hash and by correlation once aligned; the references' masks and {each.folder_masks} "
        f"masks of your own with {each.held_out} held-out masks; source, planned mask and references of "
        f"{each.synthetic} synthetic images with what was found. A part that was photographed twice, in two poses, is "
        "not found this way: name parts in `groups.csv`.",
    ]
    if each.is_leaky:
        lines += ["", "Do not report results on this test split.", "", *_table(each.leaks)]
    return "\n".join(lines)


def _table(leaks: Sequence[Leak]) -> Iterator[str]:
    yield "| used as | file | is, in the test split | likeness | synthetic images made from it |"
    yield "| --- | --- | --- | --- | --- |"
    for leak in leaks[:NAMED]:
        names = (name.replace("|", "\\|") for name in (leak.path, leak.held_out))
        yield f"| {leak.kind} | {' | '.join(names)} | {leak.likeness:.2f} | {leak.samples} |"
    if len(leaks) > NAMED:
        yield f"| and {len(leaks) - NAMED} more | in the file metadata of manifest.parquet | | | |"


def certificate_problems(certificate: Certificate | None, rows: Sequence[ManifestRow]) -> list[str]:
    """Return what is wrong with the certificate of a dataset with these rows: counts, and leaks that hashes show."""
    if certificate is None:
        return ["manifest.parquet has no leakage certificate in its file metadata"]
    roles = Counter((row.origin, row.split, row.label_index) for row in rows)
    found = {
        "normals": roles["real", "train", 0],
        "references": roles["real", "train", 1],
        "held_out": roles["real", "test", 1],
        "test_normals": roles["real", "test", 0],
        "synthetic": sum(count for (origin, _, _), count in roles.items() if origin == "synthetic"),
    }
    said = certificate.model_dump(include=set(found))
    problems = [
        f"the leakage certificate is of {said[name]} {name.replace('_', ' ')}, the manifest has {count}"
        for name, count in found.items()
        if said[name] != count
    ]
    return problems if certificate.is_leaky else [*problems, *_untold(rows)]


def _untold(rows: Sequence[ManifestRow]) -> Iterator[str]:
    """Yield the rows to train on that have a file of the test split, by its hash, or say that they have."""
    tested = {sha256: row.sample_id for row in rows if row.split == "test" for sha256 in _hashes(row)}
    for row in (row for row in rows if row.split == "train"):
        if twin := next((tested[sha256] for sha256 in _hashes(row) if sha256 in tested), None):
            yield f"row {row.sample_id}: it has a file of row {twin} of the test split, {UNTOLD}"
        elif row.mask_sampler == HELD_OUT:
            yield f"row {row.sample_id}: it was painted with a held-out mask, {UNTOLD}"


def _hashes(row: ManifestRow) -> list[str]:
    return [sha256 for sha256 in (row.image_sha256, row.mask_sha256, row.planned_mask_sha256) if sha256]
