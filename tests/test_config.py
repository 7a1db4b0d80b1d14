"""One YAML per category: loaded whole, with its defaults, paths and environment variables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from defectfill.config.run import RunConfig, load_config

CONFIGS = Path(__file__).parents[1] / "configs"
MINIMAL = """\
category: nut
object_name: hex nut
data: {root: data, defects: [hole]}
base: {model: some/base}
output: {root: out}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "nut.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def leaves(values: Any, key_path: str = "") -> Iterator[tuple[str, Any]]:
    """(key path, value) of everything in a config, or in the YAML it came from, that is no block."""
    if isinstance(values, BaseModel):
        values = {name: getattr(values, name) for name in type(values).model_fields}
    if not isinstance(values, dict) or key_path == "masks.samplers":
        yield key_path, values
        return
    for name, value in values.items():
        yield from leaves(value, f"{key_path}.{name}".lstrip("."))


@pytest.fixture
def loaded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunConfig:
    """The config of the name that is asked for, with every environment variable it names set to a folder."""
    path = CONFIGS / f"{request.param}.yaml"
    for name in re.findall(r"\$\{(\w+)\}", path.read_text("utf-8")):
        monkeypatch.setenv(name, str(tmp_path))
    return load_config(path)


every_config = pytest.mark.parametrize("loaded", sorted(path.stem for path in CONFIGS.glob("*.yaml")), indirect=True)
hazelnut = pytest.mark.parametrize("loaded", ["hazelnut"], indirect=True)


@every_config
def test_every_config_of_the_project_loads(loaded: RunConfig) -> None:
    assert loaded.category_folder.is_absolute()
    assert loaded.category_output.is_absolute()


@hazelnut
def test_hazelnut_spells_out_every_key(loaded: RunConfig) -> None:
    spelt_out = {key_path for key_path, _ in leaves(yaml.safe_load((CONFIGS / "hazelnut.yaml").read_text("utf-8")))}
    keys = {key_path for key_path, _ in leaves(loaded)}
    assert keys - spelt_out == {"data.references.count"}  # stands in for the fraction
    assert spelt_out <= keys


@hazelnut
def test_hazelnut_has_the_default_values(loaded: RunConfig) -> None:
    required = {"category", "object_name", "data.root", "data.defects", "base.model", "output.root"}
    chosen = {
        "base.revision": "5f74973cbb64c8568780732c17f43eb269d63a0d",  # a hub's base is pinned, a folder cannot be
        "data.references.fraction": 0.3333,  # YAML has no thirds
        "generate.count": 250,  # the paper's 1000 images, from four defects
        "schedule.timezone": "Europe/Berlin",
    }
    scheduled = {**yaml.safe_load(MINIMAL), "schedule": {"cron": "0 2 * * 1"}}
    defaults = dict(leaves(RunConfig.model_validate(scheduled)))
    different = {key_path: value for key_path, value in leaves(loaded) if value != defaults[key_path]}
    assert different.keys() - required == chosen.keys()
    assert chosen.items() <= different.items()


def test_the_defaults_are_the_papers(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    train, generate = config.train, config.generate
    assert config.data.references.fraction == pytest.approx(1 / 3)
    assert config.base.resolution == 512
    assert (train.steps, train.batch_size, train.warmup_steps, train.max_resize) == (2000, 4, 100, 1.125)
    assert (train.rank, train.alpha, train.dropout) == (8, 16, 0.1)
    assert (train.learning_rate_unet, train.learning_rate_text_encoder) == (2e-4, 4e-5)
    assert (train.weights.defect, train.weights.object, train.weights.attention) == (0.5, 0.2, 0.05)
    assert (train.object_background, train.weight_inside_square) == (0.3, True)
    assert (train.boxes.count, train.boxes.min_side, train.boxes.max_side) == (30, 0.03, 0.25)
    assert (generate.candidates, generate.steps) == (8, 50)


def test_a_base_that_is_here_says_its_own_resolution(tmp_path: Path, base_folder: Path) -> None:
    text = MINIMAL.replace("{model: some/base}", f"{{model: {base_folder}}}")
    assert text != MINIMAL
    assert load_config(write(tmp_path, text)).base.resolution == 128
    asked = text.replace(f"{base_folder}}}", f"{base_folder}, resolution: 64}}")
    assert load_config(write(tmp_path, asked)).base.resolution == 64


def test_numbers_are_read_as_they_are_written(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL + "\nseed: 010\ntrain: {steps: 300, learning_rate_unet: 6.0e-4}"))
    assert (config.seed, config.train.steps, config.train.learning_rate_unet) == (10, 300, 6e-4)


def test_prompts_have_their_words_filled_in(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, MINIMAL)).prompts("hole") == ("A photo of sks", "A hex nut with sks")
    changed = MINIMAL + "train: {token: zwx, prompt_object: 'a {token} {object_name}, {token}'}\n"
    assert load_config(write(tmp_path, changed)).prompts("hole") == ("A photo of zwx", "a zwx hex nut, zwx")


def test_a_config_is_frozen(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.train.weights.defect = 1


def test_a_config_survives_json(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_relative_paths_start_at_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    text = MINIMAL.replace("root: data", "root: ../data").replace("model: some/base", "model: ./base")
    write(tmp_path / "configs", text)
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("configs/nut.yaml"))
    assert config.category_folder == tmp_path / "data/nut"
    assert config.output.root == str(tmp_path / "configs/out")
    assert config.base.model == str(tmp_path / "configs/base")


def test_absolute_paths_and_the_home_folder_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = MINIMAL.replace("root: data", "root: /data").replace("root: out", "root: ~/out")
    config = load_config(write(tmp_path, text.replace("model: some/base", "model: ~/base")))
    assert config.data.root == "/data"
    assert config.output.root == str(tmp_path / "home/out")
    assert config.base.model == str(tmp_path / "home/base")


def test_a_base_is_a_hub_id_unless_it_is_a_folder(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, MINIMAL)).base.model == "some/base"
    (tmp_path / "some/base").mkdir(parents=True)
    assert load_config(write(tmp_path, MINIMAL)).base.model == str(tmp_path / "some/base")


def test_environment_variables_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGES", str(tmp_path))
    monkeypatch.setenv("KIND", "hole")
    text = MINIMAL.replace("root: data", "root: '${IMAGES}/data'").replace("[hole]", "['small_${KIND}']")
    config = load_config(write(tmp_path, text))
    assert config.data.root == str(tmp_path / "data")
    assert config.data.defects == ("small_hole",)


def test_a_bundled_base_goes_by_its_name_alone(tmp_path: Path) -> None:
    assert Path(load_config(write(tmp_path, MINIMAL.replace("some/base", "mini"))).base.model).is_dir()
    astray = load_config(write(tmp_path, MINIMAL.replace("some/base", "mini/../../bases/mini")))
    assert astray.base.model == "mini/../../bases/mini"  # as a hub's name, which is refused without a revision
