"""A review: decisions of people leave, return and stay as they say; gates are held against them."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import CommandLine, contents, copy_finished, paint, run_all_steps
from test_report import page_at

from defectfill.cli_format import review_lines, status_lines
from defectfill.config.gates import GatesConfig
from defectfill.config.run import load_config
from defectfill.dataset.opened import Dataset
from defectfill.dataset.report.build import write_report
from defectfill.dataset.summary import summary
from defectfill.dataset.verify import verify_dataset
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import DataError
from defectfill.io.files import read_table
from defectfill.operations.prepare import start_run
from defectfill.operations.report import finished_run
from defectfill.operations.review.agreement import Decisions, agreeing_unseen, best_limits, ends_of, needs_of
from defectfill.operations.review.apply import apply_review
from defectfill.operations.review.table import read_table as read_decisions
from defectfill.operations.status import status
from defectfill.painting.gates import REASONS, Gate
from defectfill.painting.measures import Measures
from defectfill.records.manifest import ManifestRow
from defectfill.runs.planner import plan_samples
from defectfill.runs.review import Decided, Review, write_review
from defectfill.runs.run import Run
from defectfill.runs.shards import rejected_files
from defectfill.synthesis.shards import inpaint_shard

Rows = list[dict[str, Any]]


def painted(run: Run, table: str = "manifest") -> Rows:
    """The rows of the synthetic defects in a table of the dataset."""
    rows = read_table(run.dataset / f"{table}.parquet")
    return [row for row in rows if row["origin"] == "synthetic" and row["label_index"] == 1]


def ids(rows: Rows) -> list[str]:
    return [row["sample_id"] for row in rows]


def table_of(folder: Path, decisions: dict[str, str]) -> Path:
    path = folder / "review.csv"
    lines = [f'{sample_id},{word},"a note, with a comma"' for sample_id, word in decisions.items()]
    path.write_text("\n".join(["id,decision,note", *lines, ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, finished: Run) -> tuple[Path, Run]:
    """A config file and its finished run: some samples have VAE normals, and rejected images come along."""
    config = copy_finished(finished, tmp_path_factory.mktemp("review"))
    text = config.read_text().replace("shard_size: 2", "shard_size: 2, vae_normals: 0.5, max_attempts: 5")
    config.write_text(f"{text}dataset: {{rejected_images: true}}\n")
    run = run_all_steps(config)
    shutil.copytree(run.category_output, config.parent / "as made")
    return config, run


@pytest.fixture
def config_path(made: tuple[Path, Run]) -> Path:
    return made[0]


@pytest.fixture
def run(made: tuple[Path, Run]) -> Run:
    """The finished run, as it was made."""
    config_path, run = made
    shutil.rmtree(run.category_output)
    shutil.copytree(config_path.parent / "as made", run.category_output)
    return run


def test_what_is_taken_out_leaves_the_dataset_and_others_are_painted_where_that_is_asked(
    run: Run, config_path: Path
) -> None:
    before, first = painted(run), contents(run.dataset)
    hole, scratch = ([row for row in before if row["defect"] == defect] for defect in ("hole", "scratch"))
    words = {hole[0]["sample_id"]: "reject", hole[3]["sample_id"]: "wrong_label", scratch[1]["sample_id"]: "keep"}
    table = table_of(config_path.parent, {**words, scratch[2]["sample_id"]: "unsure"})
    report = apply_review(run, table)
    assert report.decisions == {"keep": 1, "reject": 1, "unsure": 1, "wrong_label": 1}
    assert report.is_finished
    assert (report.kept, report.taken_out, report.wanted) == ({"hole": 3, "scratch": 5}, 2, 5)
    left = "8 of 10 wanted images are in the dataset; apply with --refill to have others painted for those taken out"
    assert left in review_lines(report)
    assert (report.agreement.kept, report.agreement.taken_out, report.agreement.agree) == (1, 2, 1)
    assert report.agreement.best is None
    gone = [hole[0]["sample_id"], hole[3]["sample_id"]]
    kept, rejected = painted(run), painted(run, "rejected")
    assert ids(kept) == [sample_id for sample_id in ids(before) if sample_id not in gone]
    assert {row["sample_id"]: row["review"] for row in rejected if row["reason"] == "review"} == {
        gone[0]: "reject",
        gone[1]: "wrong_label",
    }
    assert {row["sample_id"]: row["review"] for row in kept if row["review"]} == {
        scratch[1]["sample_id"]: "keep",
        scratch[2]["sample_id"]: "unsure",
    }
    for row, was in zip(rejected, (hole[0], hole[3]), strict=True):
        assert (run.dataset / row["image_path"]).read_bytes() == first[was["image_path"]]
        assert row["image_path"] == f"rejected/{was['image_path']}"
        assert rejected_files(run, "hole", row["sample_id"]) == tuple(
            next((run.folder / "shards").rglob(was[name])) for name in ("image_path", "mask_path")
        )
    everything = {row["sample_id"] for row in read_table(run.dataset / "manifest.parquet")}
    normals = {name for name in everything if name.startswith("vae-")}
    assert normals
    assert {name.removeprefix("vae-") for name in normals} <= set(ids(kept))
    weights = Counter[str]()
    for row in read_table(run.dataset / "manifest.parquet"):
        if row["defect"] == "hole":
            weights[row["origin"]] += row["sampling_weight"]
    assert weights["real"] == pytest.approx(weights["synthetic"])
    assert verify_dataset(run.dataset).rejected == len(rejected)
    config = load_config(config_path)
    assert status(config).state == "up to date"
    assert summary(run.dataset).notes[0].startswith("hole: 2 fewer than wanted, taken out by a review")

    applied = contents(run.folder)
    apply_review(run, table)
    assert contents(run.folder) == applied
    write_dataset(run)
    assert contents(run.dataset) == {
        name.removeprefix("dataset/"): content for name, content in applied.items() if name.startswith("dataset/")
    }

    report = apply_review(finished_run(str(config_path)), table, refill=True)
    assert not report.is_finished
    assert ids(painted(run)) == ids(kept)
    lines = list(status_lines(status(config)))
    assert lines[:2] == [
        f"washer: stale: {run.dataset}",
        "  others are to be painted for samples that a review took out",
    ]
    assert lines[2].startswith("hole: adapter is there; 2 of 5 samples to paint")
    verify_dataset(run.dataset)
    apply_review(run, table, refill=True)
    start_run(config)
    paint(run)
    write_dataset(run)
    refilled = ids([row for row in painted(run) if row["defect"] == "hole"])
    assert len(refilled) == 5
    assert not set(refilled) & set(gone)
    assert len(set(refilled) - set(ids(hole))) == 2
    assert status(config).state == "up to date"
    verify_dataset(run.dataset)
    applied = contents(run.folder)
    assert apply_review(run, table, refill=True).is_finished
    assert contents(run.folder) == applied

    back = apply_review(run, table_of(config_path.parent, dict.fromkeys(gone, "keep")))
    assert back.is_finished
    assert ids(painted(run)) == ids(before)


def test_a_call_that_was_killed_before_the_dataset_was_written_is_finished_by_the_next_run(
    run: Run, config_path: Path
) -> None:
    sample_id, old = painted(run)[0]["sample_id"], contents(run.dataset)
    write_review(run, Review(decisions={sample_id: Decided(decision="reject", note="a note, with a comma")}))
    assert status(load_config(config_path)).state == "stale"
    assert contents(run.dataset) == old
    verify_dataset(run.dataset)
    start_run(load_config(config_path))
    paint(run)
    write_dataset(run)
    made = contents(run.dataset)
    assert sample_id not in ids(painted(run))
    assert apply_review(run, table_of(config_path.parent, {sample_id: "reject"})).is_finished
    assert contents(run.dataset) == made


def test_a_review_of_a_run_whose_images_have_changed_leaves_everything_as_it_was(run: Run, config_path: Path) -> None:
    record = next(record for record in run.snapshot() if record.role == "held_out")
    mask = run.config.category_folder / record.mask_path
    before, content = contents(run.folder), mask.read_bytes()
    mask.write_bytes(content + b"more")
    try:
        with pytest.raises(DataError, match=f"{mask.name}: expected the file that was ingested"):
            apply_review(run, table_of(config_path.parent, {painted(run)[0]["sample_id"]: "reject"}))
    finally:
        mask.write_bytes(content)
    assert contents(run.folder) == before
    assert run.is_finished()


def test_a_run_that_has_not_painted_all_is_not_reviewed_and_its_report_says_why_there_are_fewer(
    run: Run, config_path: Path
) -> None:
    run = start_run(load_config(config_path, 7))
    inpaint_shard(run, plan_samples(run)[0])  # and interrupted
    before = contents(run.folder)
    with pytest.raises(DataError, match="expected a run that has painted all it was asked for; run again, then apply"):
        apply_review(run, table_of(config_path.parent, {}))
    assert contents(run.folder) == before
    outcome = summary(run.dataset)
    assert {defect: (each.kept, each.surplus) for defect, each in outcome.defects.items()} == {
        "hole": (5, 0), "scratch": (5, 0)
    }  # fmt: skip
    notes = [note for note in outcome.notes if "fewer" in note]
    why = "2 fewer than wanted, since not all of them are painted yet: run again to go on"
    assert notes == [f"hole: {why}", f"scratch: {why}"]


def test_a_report_counts_what_a_person_took_out_apart_from_what_the_gates_rejected(
    run: Run, config_path: Path, tmp_path: Path
) -> None:
    before = painted(run)[0]
    apply_review(run, table_of(config_path.parent, {before["sample_id"]: "reject"}))
    page = page_at(write_report(run, tmp_path / "report"))
    assert "10 painted, 0 rejected by the gates, 1 taken out by a person, 2 defects" in page.text
    decided = [(each["id"], each["applied"], each["note"]) for each in page.data["samples"] if each["note"]]
    assert decided == [(before["sample_id"], "reject", "a note, with a comma")]
    assert f"defectfill review apply {run.folder} review.csv" in page.text


def test_the_command_says_what_was_decided_and_where_the_dataset_is(
    run: Run, config_path: Path, command_line: CommandLine
) -> None:
    table = table_of(config_path.parent, {painted(run)[0]["sample_id"]: "reject"})
    ended = command_line("review", "apply", run.dataset, table, "--refill")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[:2] == ["decided: 1 reject", "of 1 samples kept or taken out the gates say the same of 0"]
    assert lines[-3] == "9 of 10 wanted images are in the dataset"
    assert lines[-2:] == ["run again to have others painted for the samples that were taken out", str(run.dataset)]
    table.write_text("id,decision,note\nnone,reject,\n")
    before = contents(run.folder)
    ended = command_line("review", "apply", run.dataset, table, "--refill")
    assert ended.code == 2
    assert "line 2: expected the id of a sample of this run, found 'none'" in ended.err
    assert contents(run.folder) == before
    moved = run.folder.rename(run.folder.with_name("0123456789ab"))
    with pytest.raises(DataError, match="expected the run where its config has it"):
        apply_review(Run.at(moved), table)


KNOWN = {"hole-1", "hole-2"}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("id;decision\n", ["line 1: expected id,decision,note, found 'id,decision'"]),
        ("id;decision;note\nhole-1;good;\n", ["line 2: expected keep, reject, unsure, wrong_label, found 'good'"]),
        ("", ["line 1: expected id,decision,note, found ''"]),
        (
            "id,decision,note\nhole-1,keep,\nhole-9,keep,\nhole-2,good,\n\nhole-1,reject,\nhole-2,keep\n",
            [
                "line 3: expected the id of a sample of this run, found 'hole-9'",
                "line 4: expected keep, reject, unsure, wrong_label, found 'good'",
                "line 6: hole-1: reject, but line 2 says keep",
                "line 7: expected 3 values, found 2",
            ],
        ),
        ('id,decision,note\nhole-1,keep,"\n', ["line 2: unexpected end of data"]),
    ],
)
def test_a_table_that_cannot_be_is_refused_line_by_line(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = tmp_path / "review.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_decisions(path, KNOWN)
    assert list(caught.value.problems) == [f"{path}: {problem}" for problem in problems]


def test_a_table_is_read_as_spreadsheets_write_it_and_a_decision_may_stand_twice(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes('\ufeffid,decision,note\r\nhole-1,keep,\r\nhole-1,keep,"ä\nb"\r\n'.encode())
    assert read_decisions(path, KNOWN) == {"hole-1": Decided(decision="keep", note="ä\nb")}
    path.write_bytes('id;decision;note\r\nhole-1;keep;"a; b, c"\r\nhole-2;reject;ä\r\n'.encode())
    assert read_decisions(path, KNOWN) == {
        "hole-1": Decided(decision="keep", note="a; b, c"),
        "hole-2": Decided(decision="reject", note="ä"),
    }
    latin = "\ufeffid,decision,note\r\nhole-1,keep,\r\n".encode() + "hole-2,keep,ä\r\n".encode("latin-1")
    for broken, message in (
        (latin, r"line 3: expected UTF-8, found the byte 0xe4; save it as UTF-8 \(CSV UTF-8\)"),
        (b"id,decision,note\n\0", "line"),
    ):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=message):
            read_decisions(path, KNOWN)
    with pytest.raises(DataError, match="found no file"):
        read_decisions(tmp_path / "none.csv", KNOWN)


def test_a_dataset_from_before_there_were_reviews_verifies_and_opens(run: Run) -> None:
    for name in ("manifest", "rejected"):
        path = run.dataset / f"{name}.parquet"
        pq.write_table(pq.read_table(path).drop_columns(["review"]), path)
    assert verify_dataset(run.dataset).rows == len(Dataset(run.dataset).manifest)


def test_a_review_that_does_not_fit_its_table_is_found(run: Run) -> None:
    path = run.dataset / "manifest.parquet"
    rows = read_table(path)
    rows[-1]["review"] = "reject"
    pq.write_table(pq.read_table(path).schema.empty_table().from_pylist(rows, schema=pq.read_schema(path)), path)
    with pytest.raises(DataError, match="the review 'reject' does not fit the reason ''"):
        verify_dataset(run.dataset)


def measures(rng: np.random.Generator) -> Measures:
    def spread(value: float) -> float:
        return float(value * rng.uniform(0.3, 3))

    return Measures(
        contrast=spread(0.3),
        shade=np.asarray(rng.normal(size=3) * 0.3, np.float32),
        seam_gradient=spread(0.02),
        texture=tuple(spread(0.05) for _ in range(5)),
        edge_sharpness=(spread(0.3), spread(0.3)),
        appearance=np.asarray(rng.normal(size=(32, 32)), np.float32),
    )


def row_of(found: Measures, gate: Gate, drawn: float, off: float) -> tuple[ManifestRow, tuple[str, ...]]:
    """A manifest's row of a sample, and all that its gate has against it."""
    verdict = gate.judge(found, drawn, off)
    row = ManifestRow(
        sample_id="hole-1", image_path="a.png", label_index=1, category="nut", defect="hole", split="train",
        origin="synthetic", width=9, height=9, image_sha256="", source_path="b.png", drawn_fraction=drawn,
        off_mask_fraction=off, contrast=found.contrast, seam_gradient=found.seam_gradient, texture=found.texture,
        edge_sharpness=found.edge_sharpness, reference_correlation=verdict.reference_correlation,
        appearance_distance=verdict.appearance_distance,
    )  # fmt: skip
    return row, verdict.against


def test_a_gate_refuses_exactly_the_samples_whose_need_exceeds_its_setting() -> None:
    rng = np.random.default_rng(0)
    references, seen = [measures(rng) for _ in range(3)], Counter[str]()
    for tolerance in (0.0, 0.7, 1.0, 2.5):
        gate = Gate.calibrated(
            references, GatesConfig(tolerance=tolerance, max_reference_correlation=0.01), "diffusion", [0.9, 0.5]
        )
        settings = {"mask_lost": -0.3, "off_mask": 0.75, "near_copy": 0.01}
        for _ in range(60):
            row, against = row_of(measures(rng), gate, float(rng.choice([0, 0.2, 0.22, 0.6])), float(rng.uniform()))
            needs = needs_of(row, *ends_of(gate))
            assert tuple(each for each in REASONS if needs[each] > settings.get(each, tolerance)) == against
            seen.update(against)
    assert set(seen) == set(REASONS)


def test_settings_are_chosen_by_what_people_take_out_and_judged_by_decisions_that_did_not_choose_them() -> None:
    rng = np.random.default_rng(1)
    present = {"tolerance": 1.0, "min_drawn_fraction": -0.3, "max_off_mask_fraction": 0.75,
               "max_reference_correlation": 0.5}  # fmt: skip
    needs = {gate: np.full(100, -1.0) for gate in REASONS}
    needs["too_faint"], needs["off_mask"] = rng.uniform(-1, 1, 100), rng.uniform(0, 0.75, 100)
    told = Decisions(needs, (needs["too_faint"] > 0.2) | (needs["off_mask"] > 0.4))
    best = best_limits(told, present)
    assert (told.kept_by(best) != told.refused).all()
    assert best["tolerance"] == pytest.approx(0.2, abs=0.1)
    assert best["max_off_mask_fraction"] == pytest.approx(0.4, abs=0.1)
    assert (best["min_drawn_fraction"], best["max_reference_correlation"]) == (-0.3, 0.5)
    assert agreeing_unseen(told, present) >= 95
    by_chance = Decisions(needs, rng.uniform(size=100) < 0.3)
    at_present = int((by_chance.kept_by(present) != by_chance.refused).sum())
    assert agreeing_unseen(by_chance, present) <= at_present
