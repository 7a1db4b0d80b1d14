"""Whether a run's dataset helps: trials of detectors beside it, each found again, and a verdict.

<run>/evaluation/trials/<arm>-<detector>-<seed>/   trial.json predictions.npz
<run>/evaluation/painters/<painter>/               output of the runs whose sets other arms learn from
<run>/evaluation/verdict.json, table.md
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from defectfill.config.evaluate import ArmName, DetectorName
from defectfill.config.run import RunConfig
from defectfill.dataset.evaluation_table import evaluation_table
from defectfill.io.errors import DataError
from defectfill.io.files import new_folder, read_table, write_bytes
from defectfill.io.hashing import digest
from defectfill.io.images import read_mask
from defectfill.model.evaluation.arms import ARMS, Material, Part, mixed_arm, parts_of
from defectfill.model.evaluation.examples import Example, Images, fitting_side
from defectfill.model.evaluation.features import open_extractor
from defectfill.model.evaluation.fidelity import fidelity, footnote, table_rows
from defectfill.model.evaluation.predictions import Predictions, joined
from defectfill.model.evaluation.trials import Bench, detector_device
from defectfill.model.evaluation.verdict import Outcome, figures_of, subsets_of, verdict_of
from defectfill.records.evaluation import EVALUATION_VERSION, ArmFigures, Evaluation, Training, Trial, Verdict
from defectfill.records.manifest import REVIEWED, ManifestRow
from defectfill.records.reading import manifest_rows
from defectfill.runs.run import Run, latest_folder
from defectfill.runs.shards import rejected_files
from defectfill.runs.verdict import VERDICT_FILE, rows_digest

PAINTERS: Mapping[ArmName, str] = {"real_paste": "paste", "real_perlin": "perlin"}
"""Arms that learn from the set of another painter."""
DETECTORS: Mapping[DetectorName, str] = {
    "unet": "U-Net from scratch (monai's BasicUNet, widths 16 to 128, Dice and focal loss)",
    "linear": "linear head per pixel on frozen features of {features}",
}


@dataclass(frozen=True)
class Evaluator:
    """The evaluation of a run whose dataset is finished."""

    run: Run

    @property
    def folder(self) -> Path:
        """The folder of all that the evaluation leaves."""
        return self.run.folder / VERDICT_FILE.parent

    @property
    def other_painters(self) -> list[RunConfig]:
        """The configs of the sets that some arms learn from: the run's own with another painter, output beside it."""
        arms = [arm for arm in self.run.config.evaluate.arms if arm in PAINTERS]
        return [self._config_of(PAINTERS[arm]) for arm in arms]

    def _config_of(self, painter: str) -> RunConfig:
        config = self.run.config
        output = config.output.model_copy(update={"root": str(self.folder / "painters" / painter)})
        generate = config.generate.model_copy(update={"painter": painter})
        dataset = config.dataset.model_copy(update={"promote": "always"})
        return config.model_copy(update={"output": output, "generate": generate, "dataset": dataset})

    @cached_property
    def material(self) -> Material:
        """The images of the dataset, and of the sets that other painters made beside it.

        Raises DataError where a defect has no real reference to learn from.
        """
        config, dataset = self.run.config, self.run.dataset
        groups = {f"real-{record.sha256[:16]}": record.group for record in self.run.snapshot()}
        rows = list(manifest_rows(dataset))
        real = {split: [_example(dataset, r, groups) for r in _real(rows, split)] for split in ("train", "test")}
        pools = {"dataset": _synthetic(dataset, rows, config.data.defects)}
        refused = map(ManifestRow.model_validate, read_table(dataset / "rejected.parquet"))
        rejected = [_rejected(self.run, row) for row in refused if row.reason != REVIEWED]
        if any(rejected) and config.dataset.label == "drawn":  # as theirs is: else the label would differ too
            pools["gates_off"] = {
                defect: [*kept, *(each for each in rejected if each and each.defect == defect)]
                for defect, kept in pools["dataset"].items()
            }
        for painter in PAINTERS.values():
            folder = latest_folder(self._config_of(painter))
            if folder and (folder / "dataset" / "manifest.parquet").is_file():
                pools[painter] = _synthetic(
                    folder / "dataset", list(manifest_rows(folder / "dataset")), config.data.defects
                )
        references = {each: [row for row in real["train"] if row.defect == each] for each in config.data.defects}
        normals = [row for row in real["train"] if row.defect == "good"]
        if len(normals) < 2 or not all(references.values()):
            raise DataError(f"{dataset}: expected references of each defect and two normals, found fewer")
        return Material(references, normals, real["test"], pools)

    @cached_property
    def bench(self) -> Bench:
        """What all trials share."""
        settings, config = self.run.config.evaluate, self.run.config
        references = [each for examples in self.material.references.values() for each in examples]
        auto = settings.image_px == "auto"
        side = fitting_side(references, settings.crop_px) if auto else int(settings.image_px)
        return Bench(settings, Images(side), open_extractor(config.base, settings.features), detector_device())

    @cached_property
    def trials(self) -> list[Trial]:
        """All trials, seed by seed, so that early ones compare all arms."""
        settings = self.run.config.evaluate
        return [
            Trial(arm=arm, detector=detector, seed=seed)
            for seed in range(settings.seeds)
            for detector in settings.detectors
            for arm in settings.arms
            if self._is_possible(arm)
        ]

    def _is_possible(self, arm: ArmName) -> bool:
        """Return whether there are images that an arm is about, and held-out ones to test on."""
        pool = ARMS[arm].pool
        there = not pool or any(self.material.pools.get(pool, {}).values())
        return there and bool(self.parts(arm))

    def parts(self, arm: ArmName) -> list[Part]:
        """Return the trainings of an arm."""
        return parts_of(arm, self.material, self.run.config.evaluate.validation_share)

    def try_out(self, trial: Trial) -> None:
        """Train and test the detectors of a trial, unless what they found is there already."""
        parts, folder = self.parts(trial.arm), self.folder / "trials" / trial.name
        key = self._key(trial, parts)
        if _key_in(folder) == key:
            return
        results = [self.bench.train_and_test(part, ARMS[trial.arm], trial.detector, trial.seed) for part in parts]
        for number, (_, found) in enumerate(results):
            found.parts[:] = number
        with new_folder(folder, replace=True) as new:
            joined([found for _, found in results]).save(new / "predictions.npz")
            content = {"key": key, "trainings": [training.model_dump() for training, _ in results]}
            write_bytes(new / "trial.json", json.dumps(content, indent=2).encode())

    def _key(self, trial: Trial, parts: Sequence[Part]) -> str:
        """Return the digest of all that decides what a trial finds."""
        aside, bench = {"arms", "detectors", "seeds", "workers", "image_px", "features"}, self.bench
        features = bench.extractor.digest if trial.detector == "linear" else ""
        settings = self.run.config.evaluate.model_dump(mode="json", exclude=aside)
        images = [part.contents() for part in parts]
        where = [bench.images.image_px, features, bench.device.type]
        return digest([EVALUATION_VERSION, trial.name, settings, *where, images])

    def _outcome(self, trial: Trial) -> Outcome:
        folder = self.folder / "trials" / trial.name
        trainings = json.loads((folder / "trial.json").read_bytes())["trainings"]
        found = Predictions.load(folder / "predictions.npz")
        return Outcome(tuple(Training.model_validate(each) for each in trainings), found)

    def conclude(self) -> Evaluation:
        """Return what the finished trials say together; it is in verdict.json and table.md from then on."""
        config, settings = self.run.config, self.run.config.evaluate
        outcomes = {trial: self._outcome(trial) for trial in self.trials}
        groups = {each.sample_id: each.group for each in self.material.test if each.group}
        arms = list(dict.fromkeys(trial.arm for trial in self.trials))
        tested = [defect for defect in config.data.defects if any(e.defect == defect for e in self.material.test)]
        figures = [
            each
            for defect in tested
            for detector in settings.detectors
            for arm in arms
            if (each := figures_of(outcomes, arm, detector, defect, groups))
        ]
        about, leading, places = (
            mixed_arm(config.dataset.real_share, settings.arms),
            settings.detectors[0],
            _places(self.material.test),
        )
        alike = fidelity(self.run.dataset, self.bench.extractor, config.seed)
        evaluation = Evaluation(
            version=EVALUATION_VERSION,
            category=config.category,
            rows_digest=rows_digest(self.run.dataset),
            settings=settings.model_dump(mode="json"),
            detectors={name: self._described(name) for name in settings.detectors},
            image_px=self.bench.images.image_px,
            defects={defect: self._verdict(defect, figures, about) for defect in tested},
            figures=tuple(figures),
            subsets=tuple(r for defect in tested for r in subsets_of(outcomes, about, leading, defect, *places)),
            fidelity={defect: each.model_dump() for defect, each in alike.items()},
            fidelity_table=tuple(table_rows(alike)),
            notes=(*_notes(config, arms, tested), footnote(alike)),
        )
        write_bytes(self.run.folder / VERDICT_FILE, evaluation.model_dump_json(indent=2).encode())
        write_bytes(self.folder / "table.md", evaluation_table(evaluation).encode())
        return evaluation

    def _described(self, detector: DetectorName) -> str:
        return DETECTORS[detector].format(features=self.bench.extractor.name)

    def _verdict(self, defect: str, figures: Sequence[ArmFigures], about: ArmName) -> Verdict:
        settings = self.run.config.evaluate
        own = [each for each in figures if (each.defect, each.detector) == (defect, settings.detectors[0])]
        painted = len(self.material.pools["dataset"].get(defect, ()))
        return verdict_of(defect, own, about, settings.seeds, painted)


def _notes(config: RunConfig, arms: Sequence[ArmName], tested: Sequence[str]) -> list[str]:
    """Return what a reader of the table has to know."""
    notes = []
    if left := [name for name in config.evaluate.arms if name not in arms]:
        notes.append(f"not tried, for want of images: {', '.join(left)}")
    if untested := [defect for defect in config.data.defects if defect not in tested]:
        notes.append(f"no held-out image, hence no verdict: {', '.join(untested)}")
    if config.generate.vae_normals:
        notes.append("normals that went through the VAE (generate.vae_normals) are not among what is learnt from")
    return notes


def _key_in(folder: Path) -> str:
    """Return the key of the trial in a folder; empty where there is none."""
    try:
        content = json.loads((folder / "trial.json").read_bytes())
        return str(content["key"]) if (folder / "predictions.npz").is_file() else ""
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _real(rows: Sequence[ManifestRow], split: str) -> list[ManifestRow]:
    return [row for row in rows if (row.origin, row.split) == ("real", split)]


def _example(dataset: Path, row: ManifestRow, groups: Mapping[str, str]) -> Example:
    return Example(
        sample_id=row.sample_id,
        image=dataset / row.image_path,
        mask=dataset / row.mask_path if row.mask_path else None,
        defect=row.defect,
        white_level=row.white_level,
        content=f"{row.image_sha256} {row.mask_sha256}",
        origin=row.source_path or row.image_path,
        group=groups.get(row.sample_id, ""),
    )


def _synthetic(dataset: Path, rows: Sequence[ManifestRow], defects: Sequence[str]) -> dict[str, list[Example]]:
    made = [_example(dataset, row, {}) for row in rows if row.origin == "synthetic"]
    return {defect: [each for each in made if each.defect == defect] for defect in defects}


def _rejected(run: Run, row: ManifestRow) -> Example | None:
    """Return a sample that a gate kept out, where its images are on this machine."""
    files = rejected_files(run, row.defect, row.sample_id)
    content = f"{row.image_sha256} {row.mask_sha256}"
    return files and Example(row.sample_id, *files, row.defect, row.white_level, content, row.source_path)


def _places(test: Sequence[Example]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the share of each held-out image that is anomalous, and the defect's distance from the image's border.

    The distance is that of its nearest pixel, over the shorter side.
    """
    sizes, borders = {}, {}
    for each in test:
        if each.mask:
            mask = read_mask(each.mask)
            rows, columns = np.nonzero(mask)
            nearest = min(rows.min(), columns.min(), *(np.array(mask.shape) - 1 - [rows.max(), columns.max()]))
            sizes[each.sample_id] = float(mask.mean())
            borders[each.sample_id] = float(nearest) / min(mask.shape)
    return sizes, borders
