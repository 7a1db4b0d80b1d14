"""Names of categories and defects, as people give them."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import config_for, contents, run_all_steps

from defectfill.dataset.verify import verify_dataset
from defectfill.ingest.ingest import ingest
from defectfill.io.images import write_png
from defectfill.io.names import check_folder_name, folder_named, safe_name
from flows.artifacts import artifact_key

NAMES = ["bent wire", "Löcher", "划痕", "孔", "trou (rond)", "50%", "a'b", "[x]*?", "-dash", "Ø 3,5 µm"]


@pytest.mark.parametrize("name", ["hole", "scratch_neck", "a.b-c", "7"])
def test_a_plain_name_is_its_own_safe_form(name: str) -> None:
    assert check_folder_name(name) == safe_name(name) == name


def test_every_other_name_has_a_safe_form_of_its_own() -> None:
    safe = [safe_name(check_folder_name(name)) for name in NAMES]
    assert len(set(safe)) == len(NAMES)
    assert all(safe_name(name) == name for name in safe)
    assert safe_name("bent wire").startswith("bent-wire-")
    assert safe_name("Löcher").startswith("Locher-")
    keys = [artifact_key(f"washer-paint {name}") for name in NAMES]
    assert len(set(keys)) == len(NAMES)
    assert all(key.isascii() and key.replace("-", "a").isalnum() and key == key.lower() for key in keys)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", " a", "a ", "螺" * 54])
def test_a_name_that_no_folder_here_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected the name of one folder"):
        check_folder_name(name)


def test_a_folder_whose_umlaut_is_two_characters_is_found(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Löcher") for form in ("NFC", "NFD"))
    assert folder_named(tmp_path, composed) == tmp_path / composed
    (tmp_path / decomposed).mkdir()
    assert folder_named(tmp_path, composed) == tmp_path / decomposed
    (tmp_path / composed).mkdir()
    assert folder_named(tmp_path, composed) == tmp_path / composed


def test_a_category_on_a_disk_of_another_form_is_ingested(tmp_path: Path) -> None:
    category, defect = (unicodedata.normalize("NFD", name) for name in ("Düse", "Löcher"))
    for number in range(3):
        for folder in ("train/good", f"test/{defect}"):
            pixels = np.random.default_rng([number, len(folder)]).integers(0, 256, (12, 16, 3), np.uint8)
            write_png(tmp_path / category / folder / f"{number}.png", pixels)
        mask = np.zeros((12, 16), bool)
        mask[3:6, 4:8] = True
        write_png(tmp_path / category / "ground_truth" / defect / f"{number}_mask.png", mask)
    records = ingest(config_for(tmp_path, ["Löcher"], category="Düse"))
    assert [record.role for record in records].count("normal") == 3
    assert {record.defect for record in records} == {"good", "Löcher"}


def test_a_run_of_defects_of_any_names_ends_with_a_dataset_that_is_whole(toy_config: Path) -> None:
    names = {"hole": "划痕 [x]*", "scratch": "bent wire"}
    category = (toy_config.parent / "data/washer").rename(toy_config.parent / "data/Löcher & Co")
    text = toy_config.read_text().replace("category: washer", "category: Löcher & Co").replace("count: 5", "count: 1")
    for plain, name in names.items():
        text = text.replace(plain, f'"{name}"')
        for kind in ("test", "ground_truth"):
            (category / kind / plain).rename(category / kind / name)
    toy_config.write_text(text, encoding="utf-8")
    run = run_all_steps(toy_config)
    verify_dataset(run.dataset)
    files = contents(run.dataset)
    for name in names.values():
        (path,) = [path for path in files if path.startswith(f"images/{name}/{safe_name(name)}-000000")]
        assert Path(path).name.isascii()
