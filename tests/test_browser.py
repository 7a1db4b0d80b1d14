"""The report in a browser, opened from disk: looked at, filtered and reviewed as people do. `make test-browser`."""

import csv
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import judge, paint, run_all_steps

from benchmarks.report import multiplied
from defectfill.config.run import load_config
from defectfill.dataset.report.build import write_report
from defectfill.dataset.verify import verify_dataset
from defectfill.dataset.writer import write_dataset
from defectfill.io.files import read_table, write_table
from defectfill.operations.prepare import start_run
from defectfill.operations.review.apply import apply_review
from defectfill.painting.gates import REASONS
from defectfill.records.manifest import SCHEMA
from defectfill.runs.run import Run

pytestmark = pytest.mark.browser
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

SAMPLES = 60
HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
AXE = os.environ.get("AXE_SCRIPT")
"""axe.min.js of axe-core; without it accessibility is not checked."""


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Any]:
    """Yield a headless Chromium without a network."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    found.set_window_size(1280, 900)
    found.execute_cdp_cmd("Network.enable", {})
    found.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    yield found
    found.quit()


@pytest.fixture(scope="module")
def run(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of many samples, half of them rejected, with texts that are markup."""
    run = multiplied(finished, tmp_path_factory.mktemp("browsed"), SAMPLES)
    rows = [{**row, "prompt": HOSTILE} for row in read_table(run.dataset / "manifest.parquet")]
    write_table(run.dataset / "manifest.parquet", rows, SCHEMA)
    judge(run, HOSTILE)
    return run


@pytest.fixture(scope="module")
def address(run: Run) -> str:
    """Return the address of the report."""
    return write_report(run).as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """Yield the browser with the report open and nothing reviewed; in the end it has said nothing on its console."""
    browser.get_log("browser")
    browser.get("about:blank")
    open_unreviewed(browser, address)
    yield browser
    assert browser.get_log("browser") == []


def open_unreviewed(browser: Any, address: str) -> None:
    browser.get(address)
    browser.execute_script("localStorage.clear()")
    browser.refresh()


def at(page: Any, selector: str) -> Any:
    return page.find_element("css selector", selector)


def texts_at(page: Any, selector: str) -> list[str]:
    """Return the visible texts of elements, all of one moment: the grid is drawn anew while one looks."""
    script = "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText.trim())"
    return list(page.execute_script(script, selector))


def all_at(page: Any, selector: str) -> list[Any]:
    return list(page.find_elements("css selector", selector))


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.switch_to.active_element.send_keys(key)


def go(page: Any, hash: str) -> None:
    page.execute_script("location.hash = arguments[0]", hash)
    until(lambda: page.execute_script("return location.hash").startswith("#"))


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Return what a condition gives once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise TimeoutError


def choose(page: Any, name: str, value: str) -> None:
    at(page, f"#{name} option[value='{value}']").click()


def shown_ids(page: Any) -> list[str]:
    tiles = "return [...document.querySelectorAll('#grid .tile')].map(each => each.getAttribute('href'))"
    return [each.rpartition("/")[2] for each in page.execute_script(tiles)]


def test_the_overview_leads_to_the_samples_of_a_reason(page: Any) -> None:
    assert at(page, ".headline").text.startswith(f"{SAMPLES // 2} of")
    link = next(each for each in all_at(page, ".stages a") if "seam visible" in each.text)
    link.click()
    until(lambda: at(page, "#samples").is_displayed())
    texts = texts_at(page, "#grid .caption b")
    assert set(texts) == {"✕ seam visible"}


def test_texts_that_are_markup_are_shown_and_do_nothing(page: Any) -> None:
    assert HOSTILE in at(page, ".verdicts").text
    sample = "return JSON.parse(document.getElementById('data').textContent).samples.find((each) => !each.reason).id"
    go(page, f"sample/{page.execute_script(sample)}")
    until(lambda: at(page, "#detail").is_displayed())
    assert HOSTILE in at(page, "#origin").text
    assert "hacked" not in page.title


def test_only_tiles_in_view_are_in_the_page(page: Any) -> None:
    page.set_window_size(700, 500)
    go(page, "samples")
    assert 0 < len(until(lambda: shown_ids(page))) < SAMPLES
    first = shown_ids(page)
    page.set_window_size(700, 900)
    until(lambda: len(shown_ids(page)) > len(first))
    page.set_window_size(700, 500)
    page.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    until(lambda: not set(shown_ids(page)) & set(first[:1]))
    assert 0 < len(shown_ids(page)) < SAMPLES
    page.set_window_size(1280, 900)


def test_layers_are_laid_over_the_tiles(page: Any) -> None:
    go(page, "samples")
    until(lambda: shown_ids(page))
    assert all_at(page, "#grid path") == []
    for layer, selector in {"planned": "path.planned", "label": "path.label", "change": "img[src*=change]"}.items():
        button = at(page, f".toolbar [data-layer={layer}]")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        tiles = len(shown_ids(page))
        assert len(all_at(page, f"#grid .frame:has({selector})")) == tiles > 0
    press(page, "b")
    until(lambda: all_at(page, "#grid img[src*=before]"))


def test_samples_are_filtered_and_sorted(page: Any) -> None:
    go(page, "samples")
    choose(page, "reason", REASONS[1])
    assert set(texts_at(page, "#grid .caption b")) == {"✕ off mask"}
    choose(page, "verdict", "kept")
    assert shown_ids(page) == []
    assert at(page, "#none").is_displayed()
    at(page, "#reset").click()
    assert f"{SAMPLES} of {SAMPLES} shown" in at(page, "#count").text
    assert page.execute_script("return location.hash") == "#samples"
    at(page, "#sort").send_keys("score, lowest")
    scores = [float(each.removeprefix("score ")) for each in texts_at(page, "#grid .score")]
    ids = page.execute_script(
        "return [...document.querySelectorAll('#grid > div')].map((each) => Number(each.ariaPosInSet))"
    )
    assert ids == sorted(ids)
    assert scores == sorted(scores)
    choose(page, "verdict", "rejected")
    before = shown_ids(page)
    page.refresh()
    assert until(lambda: shown_ids(page)) == before
    assert page.execute_script("return location.hash").startswith("#samples?verdict=rejected&sort=score")


def test_an_address_of_no_sample_says_so(page: Any) -> None:
    for hash, name in {"sample/unknown": "unknown", "sample/%E0%A4%A": "%E0%A4%A"}.items():
        go(page, hash)
        until(lambda: name in at(page, "#samples .message").text)  # noqa: B023


def test_a_sample_has_an_address_and_a_slider(page: Any, address: str, run: Run) -> None:
    page.get("about:blank")
    data = page_data(page, address)
    sample = next(each for each in data["samples"] if each["reason"] == "mask_lost")
    page.get(f"{address}#sample/{sample['id']}")
    until(lambda: at(page, "#detail").is_displayed())
    assert at(page, "#detail-title").text == sample["id"]
    assert "mask lost" in at(page, "#said").text
    assert len(all_at(page, "#candidates li")) == len(sample["scores"])
    assert len(all_at(page, "#gates tr")) == len(data["limits"][sample["defect"]])
    shares = {value: shown_by_the_slider(page, value) for value in (0, 70, 100)}
    assert shares == {0: (["after"], 0), 70: (["before", "after"], 0.7), 100: (["before"], 1)}
    loaded = "return [...document.querySelectorAll('#viewer .patch img')].every((each) => each.naturalWidth > 0)"
    until(lambda: page.execute_script(loaded))
    press(page, "\ue00c")
    until(lambda: not at(page, "#detail").is_displayed())


def shown_by_the_slider(page: Any, value: int) -> tuple[list[str], float]:
    """Return what the picture says it shows, and the share of it, from the left, that shows the source."""
    script = """
        const slider = document.getElementById("slider"), before = document.querySelector("#viewer .patch .before");
        slider.value = arguments[0];
        slider.dispatchEvent(new Event("input"));
        const [, hidden] = getComputedStyle(before).clipPath.match(/inset\\(0px ([^)]*?) 0px 0px\\)/);
        return hidden;
    """
    hidden = page.execute_script(script, value)
    said = [each.text for each in all_at(page, "#viewer .half") if each.is_displayed()]
    return said, round(1 - float(hidden.rstrip("%")) / 100, 2)


def page_data(page: Any, address: str) -> dict[str, Any]:
    page.get(address)
    data: dict[str, Any] = page.execute_script("return JSON.parse(document.getElementById('data').textContent)")
    return data


def test_reviews_by_keyboard_outlive_a_reload_and_are_saved(page: Any, downloads: Path) -> None:
    go(page, "samples")
    ids = until(lambda: shown_ids(page))[:3]
    at(page, "#grid .tile").send_keys("r")
    until(lambda: reviewed(page) == "1 of 60 reviewed")
    press(page, "u")
    until(lambda: reviewed(page) == "2 of 60 reviewed")
    press(page, "\ue007")
    until(lambda: at(page, "#detail").is_displayed())
    press(page, "w")
    until(lambda: reviewed(page) == "3 of 60 reviewed")
    page.refresh()
    go(page, "samples")
    until(lambda: reviewed(page) == "3 of 60 reviewed")
    assert texts_at(page, "#grid .badge") == ["Reject", "Unsure", "Wrong label"]
    at(page, "#save").click()
    until(lambda: (downloads / "review.csv").is_file())
    with (downloads / "review.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["id", "decision", "note"], *zip_rows(ids, ["reject", "unsure", "wrong_label"])]


def test_keys_go_on_after_layers_were_changed(page: Any) -> None:
    go(page, "samples")
    until(lambda: shown_ids(page))
    at(page, "#grid .tile").send_keys("l")
    press(page, "r")
    until(lambda: reviewed(page).startswith("1 of"))
    at(page, ".toolbar [data-layer=planned]").click()
    press(page, "k")
    until(lambda: reviewed(page).startswith("2 of"))
    assert texts_at(page, "#grid > div:nth-child(-n + 3) .frame") == ["Reject", "Keep, stays out", ""]
    assert page.switch_to.active_element.get_attribute("href").endswith(shown_ids(page)[2])


def test_the_first_decision_key_shows_which_sample_it_would_be_about(page: Any) -> None:
    go(page, "samples")
    until(lambda: shown_ids(page))
    press(page, "r")
    assert page.switch_to.active_element.get_attribute("href").endswith(shown_ids(page)[0])
    assert reviewed(page) == "none reviewed yet"


def test_a_note_may_come_before_its_decision(page: Any, downloads: Path) -> None:
    (downloads / "review.csv").unlink(missing_ok=True)
    go(page, "samples")
    first = until(lambda: shown_ids(page))[0]
    at(page, "#grid .tile").send_keys("n")
    press(page, "seen, twice")
    assert reviewed(page) == "none reviewed yet, 1 with a note but no decision"
    press(page, "\ue007")
    press(page, "r")
    until(lambda: reviewed(page) == "1 of 60 reviewed")
    page.refresh()
    go(page, f"sample/{first}")
    until(lambda: at(page, "#detail").is_displayed())
    assert at(page, "#note").get_attribute("value") == "seen, twice"
    press(page, "\ue00c")
    at(page, "#save").click()
    until(lambda: (downloads / "review.csv").is_file())
    assert (downloads / "review.csv").read_text("utf-8") == f'id,decision,note\n{first},reject,"seen, twice"\n'


def reviewed(page: Any) -> str:
    (text,) = texts_at(page, "#progress")
    return text


def zip_rows(ids: list[str], decisions: list[str]) -> list[list[str]]:
    return [[sample_id, decision, ""] for sample_id, decision in zip(ids, decisions, strict=True)]


def test_what_is_rejected_in_the_browser_leaves_the_dataset_and_others_are_painted(
    browser: Any, downloads: Path, finished_config: Path
) -> None:
    text = finished_config.read_text().replace("count: 5,", "count: 5, max_attempts: 5,").replace("report: false", "")
    finished_config.write_text(text)
    run = run_all_steps(finished_config)
    before = kept_ids(run)
    (downloads / "review.csv").unlink(missing_ok=True)
    open_unreviewed(browser, (run.folder / "report" / "index.html").as_uri())
    go(browser, "samples")
    rejected = until(lambda: shown_ids(browser))[:3]
    assert set(rejected) <= set(before)
    at(browser, "#grid .tile").send_keys("r")
    press(browser, "r", "r")
    until(lambda: reviewed(browser).startswith("3 of"))
    at(browser, "#save").click()
    until(lambda: (downloads / "review.csv").is_file())
    assert run.folder.name in at(browser, "#apply").text
    (downloads / "review.csv").write_text(
        (downloads / "review.csv").read_text("utf-8").replace("reject,", "reject,why")
    )
    assert not apply_review(run, downloads / "review.csv", refill=True).is_finished
    assert_shown_as_applied(browser, write_report(run, finished_config.with_name("applied")).as_uri(), rejected[0])
    rows = {row["sample_id"]: row for row in read_table(run.dataset / "rejected.parquet")}
    assert [(rows[each]["reason"], rows[each]["review"]) for each in rejected] == [("review", "reject")] * 3
    start_run(load_config(finished_config))
    paint(run)
    write_dataset(run)
    assert len(kept_ids(run)) == len(before)
    assert len(set(kept_ids(run)) - set(before)) == 3
    assert not set(kept_ids(run)) & set(rejected)
    verify_dataset(run.dataset)


def assert_shown_as_applied(browser: Any, address: str, sample_id: str) -> None:
    """Assert that the report shows the note of an applied decision, and says what taking that back does."""
    open_unreviewed(browser, address)
    go(browser, f"sample/{sample_id}")
    until(lambda: at(browser, "#detail").is_displayed())
    assert at(browser, "#note").get_attribute("value") == "why"
    press(browser, "x")
    assert "Reject is applied" in at(browser, "footer .message").text
    press(browser, "u")
    browser.get(f"{address}#sample/{sample_id}")
    stored = "return Object.values(JSON.parse(Object.values(localStorage)[0]))"
    assert browser.execute_script(stored) == [{"decision": "unsure", "note": "why"}]


def kept_ids(run: Run) -> list[str]:
    rows = read_table(run.dataset / "manifest.parquet")
    return [row["sample_id"] for row in rows if row["origin"] == "synthetic"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_violation(page: Any, scheme: str, width: int) -> None:
    if not AXE:
        pytest.skip("AXE_SCRIPT names no axe.min.js")
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.set_window_size(width, 900)
    page.execute_script(Path(AXE).read_text("utf-8"))
    for hash in ("overview", "samples", "figures", "training", "run", f"sample/{shown_sample(page)}"):
        go(page, hash)
        assert serious(page) == [], hash
    page.set_window_size(1280, 900)


def shown_sample(page: Any) -> str:
    return str(page.execute_script("return JSON.parse(document.getElementById('data').textContent).samples[0].id"))


def serious(page: Any) -> list[str]:
    """Return what axe-core finds that keeps people from using the page."""
    found = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [
        f"{each['id']}: {node['html'][:150]} {node['any'][0]['message'] if node['any'] else ''}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
