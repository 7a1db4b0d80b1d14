"""The report of a run: what it shows is what the run holds, and no name in it is more than text."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CommandLine, contents, judge, paint, write_toy_config
from markdown_it import MarkdownIt

from benchmarks.report import multiplied
from defectfill.config.gates import GatesConfig
from defectfill.config.run import load_config
from defectfill.dataset.card import dataset_card
from defectfill.dataset.report.build import write_report
from defectfill.dataset.report.compare import write_comparison
from defectfill.dataset.report.limits import Limit, limits_of
from defectfill.dataset.report.pictures import MOST_POINTS, Budget, change_of, outline, write_webp
from defectfill.dataset.report.plots import histogram, numbered
from defectfill.dataset.report.references import measured_references
from defectfill.dataset.writer import write_dataset
from defectfill.io.files import read_table
from defectfill.painting.gates import REASONS, Gate
from defectfill.runs.run import Run
from flows.artifacts import dataset_page

HOSTILE = '"><img src=x onerror="document.title=\'hacked\'">'
"""A defect's name; folders hold no slash, prompts do."""
BREAK_OUT = "</script><script>document.title='hacked'</script>"


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of its data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, Any] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data
        if (
            not self.data
            and self.elements
            and self.elements[-1] == ("script", {"type": "application/json", "id": "data"})
        ):
            self.data = json.loads(data)


def page_at(path: Path) -> Page:
    return Page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def run(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run of 12 samples, a third of them rejected; not to be changed."""
    return multiplied(finished, tmp_path_factory.mktemp("report"), 12, rejected_share=1 / 3)


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of its report."""
    return write_report(run, tmp_path_factory.mktemp("made") / "report").parent


def rows_of(run: Run) -> dict[str, dict[str, Any]]:
    tables = (read_table(run.dataset / f"{name}.parquet") for name in ("manifest", "rejected"))
    return {row["sample_id"]: row for table in tables for row in table if row["origin"] == "synthetic"}


def test_every_painted_sample_is_there_with_its_figures_and_pictures(run: Run, report: Path) -> None:
    data, rows = page_at(report / "index.html").data, rows_of(run)
    assert {sample["id"] for sample in data["samples"]} == set(rows)
    for sample in data["samples"]:
        row = rows[sample["id"]]
        assert (sample["reason"], sample["seed"]) == (row.get("reason") or "", str(row["seed"]))
        assert sample["score"] == pytest.approx(row["score"], rel=1e-3)
        assert sample["scores"] == pytest.approx(row["candidate_scores"], rel=1e-3)
        assert data["sources"][sample["source"]]["path"].startswith("train/good/")
        for kind in ("before", "after", "change"):
            assert (report / "pictures" / f"{sample['picture']}-{kind}.webp").is_file()
    assert data["words"].keys() == {*REASONS, "review"}
    assert sum(not sample["reason"] for sample in data["samples"]) == 8
    assert {sample["reason"] for sample in data["samples"]} == {"", *REASONS[:4]}


def test_the_page_needs_no_network_and_runs_no_script_but_its_own(report: Path) -> None:
    page = page_at(report / "index.html")
    links = [value or "" for _, given in page.elements for name, value in given.items() if name in ("src", "href")]
    assert [link for link in links if not (link.startswith("#") or (report / link).is_file())] == []
    [policy] = [given["content"] or "" for _, given in page.elements if "http-equiv" in given]
    assert "default-src 'none'" in policy
    assert re.search("script-src 'sha256-[^']+';", policy)


def test_equal_runs_give_equal_reports(run: Run, report: Path, tmp_path: Path) -> None:
    assert contents(write_report(run, tmp_path / "again").parent) == contents(report)


def test_ids_are_given_once(report: Path) -> None:
    ids = [given["id"] for _, given in page_at(report / "index.html").elements if "id" in given]
    assert len(ids) == len(set(ids))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, toy_data: Path) -> Run:
    """Return a finished run whose names are markup, with its report."""
    from defectfill.adapters.train import train_adapter
    from defectfill.operations.prepare import start_run

    folder = tmp_path_factory.mktemp("hostile")
    config_path = write_toy_config(folder, base_folder, toy_data)
    for part in ("test", "ground_truth"):
        (folder / "data" / "washer" / part / "scratch").rename(folder / "data" / "washer" / part / HOSTILE)
    config = load_config(config_path)
    values = config.model_dump(mode="json")
    values |= {"object_name": BREAK_OUT, "report": True}
    values["data"]["defects"] = ["hole", HOSTILE]
    values["generate"]["count"] = 2
    run = start_run(type(config).model_validate(values))
    for defect in run.config.data.defects:
        train_adapter(run, defect)
    paint(run)
    write_dataset(run)
    judge(run, BREAK_OUT)
    write_report(run)
    return run


def test_names_and_texts_that_are_markup_stay_text(hostile: Run) -> None:
    page = page_at(hostile.folder / "report" / "index.html")
    assert [given for tag, given in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    assert [tag for tag, given in page.elements if any(name.startswith("on") for name in given)] == []
    assert [given for _, given in page.elements if given.get("src") == "x"] == []
    assert page.data["defects"] == ["hole", HOSTILE]
    assert {BREAK_OUT in sample["prompt"] for sample in page.data["samples"]} == {True}
    assert page.text.count(f"{HOSTILE} {BREAK_OUT}") == 1, "the sentence of the evaluation"


def test_names_and_texts_stay_text_in_the_card_too(hostile: Run) -> None:
    judged = dataset_card(hostile, hostile.dataset).split("---\n", 2)[2]
    pages = (dataset_page(hostile), judged)
    parsed = [token for page in pages for token in MarkdownIt("commonmark").enable("table").parse(page)]
    inline = [child for token in parsed for child in token.children or ()]
    assert not [token for token in (*parsed, *inline) if token.type.startswith("html")]
    shown = [token.content for token in inline if token.type == "text"]
    assert HOSTILE in shown
    assert f"{BREAK_OUT}." in shown, "the sentence of the evaluation"


def test_a_dataset_without_a_report_does_not_keep_that_of_an_earlier_one(hostile: Run, tmp_path: Path) -> None:
    shutil.copytree(hostile.category_output, tmp_path / "washer")
    copied = Run.at(tmp_path / "washer" / "runs" / hostile.folder.name)
    shutil.rmtree(copied.folder / "evaluation")  # the dataset tells of it once it is written anew
    before = contents(copied.dataset)
    config = copied.config.model_copy(update={"report": False})
    without = replace(copied, record=copied.record.model_copy(update={"config": config}))
    write_dataset(without)
    assert not (copied.folder / "report").exists()
    assert contents(copied.dataset) == before


def refusals(limits: list[Limit], figures: dict[str, Any]) -> set[str]:
    """Return the reasons by which figures lie outside their ranges, as the page's script finds them."""
    found = set()
    for limit in limits:
        value = figures[limit.key] if limit.position is None else figures[limit.key][limit.position]
        if limit.low is not None and value < limit.low:
            found.add(limit.reasons[0])
        if limit.high is not None and value > limit.high:
            found.add(limit.reasons[-1])
    return found


def test_the_ranges_shown_are_those_by_which_the_gate_judges(finished: Run) -> None:
    references = [each.measures for each in measured_references(finished, "hole").references]
    gate = Gate.calibrated(references, GatesConfig(), "diffusion", [0.4, 0.6])
    random, seen = np.random.default_rng(0), set()
    for _ in range(300):
        scale = random.uniform(0.2, 3, 5)
        measures = replace(
            references[0],
            contrast=references[0].contrast * scale[0],
            seam_gradient=references[0].seam_gradient * scale[1],
            texture=tuple(each * scale[2] for each in references[0].texture),
            edge_sharpness=tuple(each * scale[3] for each in references[0].edge_sharpness),
            shade=references[0].shade * scale[4],
        )
        drawn, off = random.uniform(0.01, 1, 2)
        verdict = gate.judge(measures, drawn, off)
        figures = {
            "drawn": drawn, "off": off, "seam": measures.seam_gradient, "contrast": measures.contrast,
            "correlation": verdict.reference_correlation, "texture": measures.texture,
            "edge": measures.edge_sharpness, "distance": verdict.appearance_distance,
        }  # fmt: skip
        assert refusals(limits_of(gate), figures) == set(verdict.against)
        seen |= set(verdict.against)
    assert len(seen) >= 6


@pytest.mark.parametrize("samples", [1, 5_000, 10_000])
def test_pictures_keep_to_their_budget_whatever_they_show(samples: int, tmp_path: Path) -> None:
    budget = Budget.of(samples)
    noise = np.random.default_rng(0).random((budget.side_px, budget.side_px, 3), dtype=np.float32)
    write_webp(tmp_path / "noise.webp", noise, budget)
    assert (tmp_path / "noise.webp").stat().st_size <= budget.bytes


def test_only_what_changed_is_laid_over_a_picture() -> None:
    before = np.full((4, 4, 3), 0.5, dtype=np.float32)
    after = before.copy()
    after[1, 2] += 0.2
    assert (change_of(before, after)[..., 3] > 0).sum() == 1
    assert change_of(before, after)[1, 2, 3] > 0


def test_an_outline_encloses_its_mask() -> None:
    import cv2

    rows, columns = np.indices((64, 64))
    disc = np.hypot(rows - 30, columns - 33) < 15
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", outline(disc)), dtype=np.float64)
    filled = cv2.fillPoly(np.zeros((64, 64), np.uint8), [np.floor(points).astype(np.int32)], 1) > 0
    assert (filled & disc).sum() / (filled | disc).sum() > 0.95
    assert outline(np.zeros((8, 8), dtype=bool)) == ""
    noise = np.random.default_rng(0).random((256, 256)) > 0.5
    assert len(re.findall("[LMHV]", outline(noise))) <= MOST_POINTS + 100


def test_plots_take_the_pages_colours_and_bring_no_style_of_their_own() -> None:
    svg = numbered(histogram([1.0, 2.0, 2.5], [3.0], [1.5], [0.5], logarithmic=True), 7)
    assert "<style" not in svg
    assert "#1000" not in svg
    assert "var(--kept)" in svg
    assert {each[:6] for each in re.findall(r'(?:id="|url\(#)([^")]+)', svg)} == {"plot7-"}


def test_two_runs_are_shown_side_by_side(run: Run, finished: Run, tmp_path: Path) -> None:
    shutil.copytree(run.category_output, tmp_path / "washer")
    later = Run.at(tmp_path / "washer" / "runs" / run.folder.name)
    config = later.config.model_copy(update={"gates": GatesConfig(tolerance=7)})
    later = replace(later, record=later.record.model_copy(update={"config": config}))
    page = write_comparison(finished, later)
    text = re.sub(r"\s+", " ", page_at(page).text)
    assert page.parent == later.folder / f"compare-{finished.folder.name}"
    assert "gates.tolerance20.07.0" in text
    common = rows_of(finished).keys() & rows_of(later).keys()
    assert all(sample_id in text for sample_id in common)
    assert f"{len(common)}, of which {len(common)} are shown" in text
    assert len(list((page.parent / "before").glob("*-after.webp"))) == len(common) > 0


def test_the_command_writes_the_report_of_a_run_or_of_a_configs_newest(
    hostile: Run, tmp_path: Path, command_line: CommandLine
) -> None:
    shutil.copytree(hostile.category_output, tmp_path / "washer")
    folder = tmp_path / "washer" / "runs" / hostile.folder.name
    shutil.rmtree(folder / "report")
    ended = command_line("report", folder)
    assert ended.code == 0
    assert ended.out.splitlines() == [f"{folder}/report/index.html"]
    assert (folder / "report" / "index.html").is_file()
    assert command_line("report", folder / "report" / "index.html").code == 0
    moved = shutil.copytree(folder / "report", tmp_path / "moved") / "index.html"
    ended = command_line("report", moved)
    assert ended.code == 2
    assert f"{moved}: expected the folder of a run, with run.json, or what lies in it" in ended.err


def test_a_report_that_is_asked_for_later_is_written_by_the_next_run(
    finished: Run, toy_config: Path, command_line: CommandLine
) -> None:
    shutil.copytree(finished.category_output, toy_config.parent / "out" / "washer")
    toy_config.write_text(toy_config.read_text().replace("report: false", "report: true"))
    ended = command_line("run", toy_config)
    page = toy_config.parent / "out/washer/runs" / finished.folder.name / "report/index.html"
    assert str(page) in ended.out.splitlines()
    assert page.is_file()


def test_what_is_no_finished_run_is_refused_by_name(toy_config: Path, command_line: CommandLine) -> None:
    for arguments, message in {
        (): "expected either CONFIG or RUN, or --compare with two runs",
        (toy_config, "--compare", "a", "b"): "expected either CONFIG or RUN, or --compare with two runs",
        (
            toy_config.parent / "data",
        ): f"{toy_config.parent / 'data'}: expected the folder of a run, with run.json, or ",
        (toy_config,): "expected a finished run of it, found none",
    }.items():
        ended = command_line("report", *arguments)
        assert ended.code == 2
        assert message in ended.err


def test_a_run_that_has_lost_files_gets_no_new_report(finished: Run, tmp_path: Path, command_line: CommandLine) -> None:
    shutil.copytree(finished.category_output, tmp_path / "washer")
    run = Run.at(tmp_path / "washer" / "runs" / finished.folder.name)
    write_report(run)
    report = contents(run.folder / "report")
    image = next(run.dataset.glob("images/hole/hole-*.png"))
    for path in (image, run.plan_path):
        content = path.read_bytes()
        path.unlink()
        ended = command_line("report", run.folder)
        assert ended.code == 2
        assert f"{run.folder}: expected a run whose dataset is whole, found that " in ended.err
        assert path.name in ended.err
        path.write_bytes(content)
    assert contents(run.folder / "report") == report


def test_a_run_is_not_compared_with_itself(finished: Run, command_line: CommandLine) -> None:
    config = Path(finished.config.output.root).parent / "toy.yaml"
    ended = command_line("report", "--compare", finished.dataset, config)
    expected = f"--compare: expected two runs, found {finished.uri} twice; name them by their folders"
    assert (ended.code, ended.err) == (2, expected)
