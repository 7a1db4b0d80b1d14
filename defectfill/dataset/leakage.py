"""The leakage certificate of a dataset: made when it is written, told in its card, checked again by `verify`."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from defectfill.config.run import RunConfig
from defectfill.ingest.find import mask_files
from defectfill.ingest.leaks import FOLDER_KEY, find_leaks
from defectfill.io.markdown import plain
from defectfill.masks.held_out import HELD_OUT
from defectfill.records.leakage import Certificate, Leak
from defectfill.records.manifest import ManifestRow
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.plan import plan_table
from defectfill.runs.run import Run
from mask_sampling.sampling import FOLDER

log = logging.getLogger(__name__)

NAMED = 20
"""Leaks that the card names."""
UNTOLD = "and the leakage certificate says nothing of it"
COLUMNS = ["defect", "source_path", "planned_mask_path", "planned_mask_sha256", "mask_sampler"]


def certify(run: Run, real: Sequence[ManifestRow], painted: Iterable[pa.Table]) -> Certificate:
    """Return what of the test split reached the samples of a run, which are looked through table by table.

    real: the rows of the snapshot's images, in its order. painted: those of the samples, with their paths in the run.
    """
    records = run.snapshot()
    held_out = {
        row.mask_sha256: record.mask_path
        for record, row in zip(records, real, strict=True)
        if record.role == "held_out"
    }
    found = find_leaks(run.config, records)
    uses, planned = _uses(run.config, records, found), _planned_as_they_lie(run, records)
    counts: Counter[Leak] = Counter()
    synthetic = samples = 0
    for row in _rows(painted):
        leaks = {leak for use in _uses_of(row) for leak in uses.get(use, ())}
        mask = planned.get(row["planned_mask_path"]) or held_out.get(row["planned_mask_sha256"])
        if mask:
            leaks.add(Leak(kind="planned_mask", path=mask, held_out=mask, likeness=1.0))
        counts.update(leaks)
        synthetic, samples = synthetic + 1, samples + bool(leaks)
    all_leaks = [*found, *sorted(counts.keys() - set(found), key=lambda leak: leak.path)]
    return _certificate(run, records, [_with_samples(leak, counts[leak]) for leak in all_leaks], synthetic, samples)


def _certificate(
    run: Run, records: Sequence[ImageRecord], leaks: Sequence[Leak], synthetic: int, samples: int
) -> Certificate:
    """Return the certificate with the counts of what was compared; a leak is told in the log."""
    roles = Counter(record.role for record in records)
    certificate = Certificate(
        normals=roles["normal"],
        references=roles["reference"],
        folder_masks=sum(key.startswith(FOLDER_KEY) for key in mask_files(run.config.masks)),
        synthetic=synthetic,
        held_out=roles["held_out"],
        test_normals=roles["test_normal"],
        leaks=tuple(leaks),
        samples=samples,
    )
    if certificate.is_leaky:
        log.warning(certificate.verdict)
    return certificate


def _with_samples(leak: Leak, samples: int) -> Leak:
    return leak.model_copy(update={"samples": samples})


def _rows(painted: Iterable[pa.Table]) -> Iterator[dict[str, str]]:
    """Yield the columns that count of the samples that were kept."""
    for table in painted:
        yield from table.filter(pc.equal(table["reason"], "")).select(COLUMNS).to_pylist()


def _uses(
    config: RunConfig, records: Sequence[ImageRecord], leaks: Iterable[Leak]
) -> defaultdict[tuple[str, str], list[Leak]]:
    """Return column and value of the samples that were made from what leaks -> that."""
    defect_of = {path: record.defect for record in records for path in (record.path, record.mask_path)}
    uses: defaultdict[tuple[str, str], list[Leak]] = defaultdict(list)
    for leak in leaks:
        if leak.kind == "normal":
            uses["source_path", leak.path].append(leak)
        elif leak.kind == "folder_mask":
            uses["mask_sampler", FOLDER].append(leak)
        else:
            for defect in config.data.defects:
                if defect_of[leak.path] in config.defects_learnt_with(defect):
                    uses["defect", defect].append(leak)
    return uses


def _uses_of(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((column, row[column]) for column in ("source_path", "defect"))
    yield from (("mask_sampler", sampler) for sampler in row["mask_sampler"].split("+"))


def _planned_as_they_lie(run: Run, records: Sequence[ImageRecord]) -> dict[str, str]:
    """Return planned mask -> the held-out mask that it is, by the plan; empty unless masks.source says so.

    Of a mask that was stretched to the size of its normal only the plan knows what it was.
    """
    planned: dict[str, str] = {}
    for defect in run.config.data.defects if run.config.masks.source == HELD_OUT else ():
        own = [record for record in records if (record.role, record.defect) == ("held_out", defect)]
        named = {Path(record.path).stem: record.mask_path for record in own}
        plan = plan_table(run, defect, columns=["planned_mask_path", "mask_like", "reason"]).to_pylist()
        planned |= {row["planned_mask_path"]: named[row["mask_like"][0]] for row in plan if not row["reason"]}
    return planned


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
        yield f"| {leak.kind} | {plain(leak.path)} | {plain(leak.held_out)} | {leak.likeness:.2f} | {leak.samples} |"
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
