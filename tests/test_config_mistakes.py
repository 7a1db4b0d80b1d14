"""Mistakes in a config: each is told with its key and what was found, and all of them at once."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from test_config import MINIMAL, write

from defectfill.config.generate import GenerateConfig
from defectfill.config.run import load_config
from defectfill.config.train import TrainConfig
from defectfill.io.errors import ConfigError


def problems_of(path: Path) -> list[str]:
    """What load_config finds wrong, a line each, without the file's name that stands before every one."""
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for problem in caught.value.problems:
        assert problem.startswith(f"{path}: ")
        assert "\n" not in problem
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    "prompt",
    ["A photo", "A {object_name}", "{token} {defect}", "{token} {", "} {token}", "{{token}}", "{token!r}", "{}"],
)
def test_a_prompt_that_cannot_be_filled_in_is_a_mistake(prompt: str) -> None:
    with pytest.raises(ValidationError, match="nothing else in braces"):
        TrainConfig(prompt_object=prompt)


def test_every_unset_variable_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGES", raising=False)
    monkeypatch.delenv("PLACE", raising=False)
    text = MINIMAL.replace("root: data", "root: '${IMAGES}/${PLACE}'").replace("root: out", "root: '${PLACE}'")
    assert problems_of(write(tmp_path, text)) == [
        "data.root: the environment variable IMAGES is not set",
        "data.root: the environment variable PLACE is not set",
        "output.root: the environment variable PLACE is not set",
    ]


def test_a_variable_that_is_empty_makes_no_path_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGES", "")
    assert problems_of(write(tmp_path, MINIMAL.replace("root: data", "root: '${IMAGES}/data'"))) == [
        "data.root: the environment variable IMAGES is empty"
    ]


def test_a_folder_whose_name_is_not_utf8_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "L\udcf6t"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"data\.root: expected a path in UTF-8, found '.*L\\udcf6t/data'"):
        load_config(write(folder, MINIMAL))


def test_a_config_in_another_encoding_is_told_to_be_saved_as_utf_8(tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text(MINIMAL, encoding="utf-16")
    with pytest.raises(ConfigError, match=r"expected text in UTF-8, found another encoding .*; save it as UTF-8"):
        load_config(tmp_path / "wide.yaml")


MISTAKES = {
    "no keys left": ("train:", "train: expected keys below it, found none; leave train out to have its defaults"),
    "a value for keys": ("masks: learned", "masks: expected keys and values, found 'learned'"),
    "of two types": (
        "generate: {samples_per_batch: 0}",
        "generate.samples_per_batch: input should be greater than or equal to 1, or be 'auto', found 0",
    ),
    "of two other types": ("train: {gradient_checkpointing: 7}", "train.gradient_checkpointing: .*, or .*, found 7"),
    "deep no keys left": (
        "train: {boxes: }",
        "train.boxes: expected keys below it, found none; leave boxes out to have its defaults",
    ),
    "misspelt": ("train: {setps: 5}", r"train.setps: unknown key; did you mean 'steps'\?"),
    "misspelt deep": ("train: {boxes: {cuont: 5}}", r"train.boxes.cuont: unknown key; did you mean 'count'\?"),
    "misspelt block": ("windwo: {context: 2}", r"windwo: unknown key; did you mean 'window'\?"),
    "unknown": ("dataset: {xyz: 1}", "dataset.xyz: unknown key; known are real_share, label, rejected_images, promote"),
    "no name": ("1: a", "1: keys should be strings, found 1"),
    "word for number": ("seed: many", "seed: input should be a valid integer, .*, found 'many'"),
    "number for word": (
        "train: {token: 5}",
        "train.token: input should be a valid string, found 5; YAML reads this as a number unless .*",
    ),
    "half a step": ("train: {steps: 1.5}", "train.steps: .*valid integer.*, found 1.5"),
    "value for block": ("train: 5", "train: .*, found 5"),
    "too small": ("generate: {count: 0}", "generate.count: .*greater than or equal to 1, found 0"),
    "too large": ("train: {dropout: 1}", "train.dropout: .*less than 1, found 1"),
    "not a number": ("train: {max_grad_norm: .nan}", "train.max_grad_norm: .*finite number, found nan"),
    "infinite": ("train: {weights: {defect: .inf}}", "train.weights.defect: .*finite number, found inf"),
    "not a multiple": ("base: {model: m, resolution: 500}", "base.resolution: .*multiple of 8, found 500"),
    "no such choice": ("window: {mode: half}", "window.mode: .*'crop' or 'whole', found 'half'"),
    "no such device": ("base: {model: m, device: gpu}", "base.device: .*pattern.*, found 'gpu'"),
    "in a list": ("masks: {count: [1, x]}", "masks.count.1: .*, found 'x'"),
    "too short a list": ("masks: {count: [1]}", "masks.count.1: this key is missing"),
    "wrong way round": ("masks: {count: [2, 1]}", "masks.count: expected 1 <= fewest <= most"),
    "zones without zones": ("masks: {placement: zones}", "masks: zones: with placement `zones` they must be .*"),
    "zones without use": ("masks: {placement: uniform, zones: {allowed: a.png}}", "masks: zones: with .*"),
    "no zone": ("masks: {zones: {drawn_on: a.png}}", "masks.zones: give allowed, forbidden or both"),
    "no cron": ("schedule: {cron: daily}", "schedule.cron: .*five fields of cron.*"),
    "no time zone": ("schedule: {cron: 0 2 * * 1, timezone: Atlantis}", "schedule.timezone: unknown time zone.*"),
    "no folder": ("masks: {samplers: {folder: 1}}", "masks: folder: the sampler `folder` and the key .*"),
    "boxes": ("train: {boxes: {min_side: 0.5}}", "train.boxes: min_side is larger than max_side"),
    "prompt": ("train: {prompt_defect: A hole}", "train.prompt_defect: a prompt holds {token}.*, found 'A hole'"),
    "word of no defect": ("train: {tokens: {gap: q}}", "train.tokens: expected defects of data.defects, found gap"),
    "one word": ("train: {joint: true, tokens: {hole: q, a: q}}", "train: tokens: expected another word .*"),
    "no word": ("train: {joint: true}", "train.tokens: train.joint needs a word for each of hole"),
    "sampler": (
        "masks: {samplers: {magic: 1}}",
        r"masks.samplers: unknown sampler \['magic'\], known are .*'reference'.*",
    ),
    "no sampler": ("masks: {samplers: {}}", "masks.samplers: is empty"),
    "sampler's weight": ("masks: {samplers: {reference: 0}}", "masks.samplers.reference: .*greater than 0, found 0"),
    "both": ("data: {root: d, defects: [a], references: {count: 3, fraction: 0.5}}", "data.references: give either .*"),
    "neither": ("data: {root: d, defects: [a], references: {}}", "data.references: give either fraction or count"),
    "no defect": ("data: {root: d, defects: []}", "data.defects: names no defect"),
    "one defect in two forms of Unicode": (
        'data: {root: d, defects: ["L\u00f6t", "Lo\u0308t"]}',
        "data.defects: a defect is named twice",
    ),
    "a time for a number": ("seed: 1:30", "seed: .*valid integer.*found '1:30'"),
    "defect twice": ("data: {root: d, defects: [a, b, a]}", "data.defects: a defect is named twice"),
    "good": ("data: {root: d, defects: [good]}", "data.defects: 'good' is the folder of normal images, not a defect"),
    "no list": (
        "data: {root: d, defects: a}",
        "data.defects: .*, found 'a'; a list stands in brackets, also of one .*",
    ),
    "not a folder's name": ("data: {root: d, defects: [../a]}", "data.defects.0: .*name of one folder.*, found '../a'"),
    "hidden": ("category: .nut", "category: .*name of one folder.*, found '.nut'"),
    "space behind": ("category: 'nut '", "category: .*no space at the end.*, found 'nut '"),
    "too long a name": (f"category: {'螺' * 54}", "category: .*at most 160 bytes.*"),
    "a date": ("seed: 2024-05-01", "seed: expected text, a number, .*, found a date; put text in quotes"),
    "an arm twice": (
        "evaluate: {arms: [real_augmented, real, real]}",
        "evaluate.arms: expected one name .*, each once",
    ),
    "no detector": ("evaluate: {detectors: []}", "evaluate.detectors: expected one name or more, each once"),
    "another's detector": (
        "evaluate: {detectors: [padim]}",
        "evaluate.detectors.0: .*'unet' or 'linear', found 'padim'",
    ),
    "too long an evaluation": ("evaluate: {steps: 1e30}", "evaluate.steps: .*"),
    "too large steps": ("evaluate: {learning_rate: 1.0e+300}", "evaluate.learning_rate: .*less than or equal to 1, .*"),
    "a number for a name": ("category: 7", "category: .*found 7; YAML reads this as a number unless .*quotes"),
    "no for a name": ("data: {root: d, defects: [no]}", "data.defects.0: .*found False; YAML reads yes, no, on .*"),
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_key_and_what_was_found(tmp_path: Path, line: str, message: str) -> None:
    others = [good for good in MINIMAL.splitlines() if good.split(":")[0] != line.split(":")[0]]
    (problem,) = problems_of(write(tmp_path, "\n".join([*others, line])))
    assert re.fullmatch(message, problem)


RENAMED = {
    "train.pool": "train.latent_cache",
    "train.pool_boxes": "train.latent_cache_boxes",
    "train.look_every": "train.eval_every",
    "train.memory": "train.gradient_checkpointing",
    "generate.codec_normals": "generate.vae_normals",
    "gates.max_likeness": "gates.max_reference_correlation",
}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_key_that_was_renamed_is_told_its_new_name(tmp_path: Path, old: str, new: str) -> None:
    section, name = old.split(".")
    (problem,) = problems_of(write(tmp_path, MINIMAL + f"{section}: {{{name}: 1}}\n"))
    assert problem == f"{old}: renamed, now {new}"


@pytest.mark.parametrize("key", ["category", "object_name", "data", "base", "output"])
def test_a_missing_key_is_told(tmp_path: Path, key: str) -> None:
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"{key}:")]
    assert problems_of(write(tmp_path, "\n".join(lines))) == [f"{key}: this key is missing"]


def test_all_mistakes_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLACE", raising=False)
    text = """\
category: nut
data: {root: "${PLACE}", defect: [hole]}
base: {model: m, resolution: 8}
train: {stesp: 5, rank: few, boxes: {max_side: 2}}
output: {}
"""
    found = [problem.split(": ")[0] for problem in problems_of(write(tmp_path, text))]
    assert sorted(found) == [
        "base.resolution",
        "data.defect",
        "data.defects",
        "data.root",
        "object_name",
        "output.root",
        "train.boxes.max_side",
        "train.rank",
        "train.stesp",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "seed: 1\nseed: 2\n", "not valid YAML: the key 'seed' stands twice, again in line 7"),
        (
            MINIMAL + "train:\n  rank: 4\n  steps: 9\n  rank: 8\n",
            "not valid YAML: the key 'rank' stands twice, .* line 9",
        ),
        ("category: [nut\n", "not valid YAML: .* line 2.*"),
        ("category: !!python/object:os.system nut\n", "not valid YAML: .*"),
        (MINIMAL + "seed: 2026-13-01\n", "not valid YAML: month must be in 1..12"),
        ("", "expected keys and values, found nothing"),
        ("# nothing but a remark\n", "expected keys and values, found nothing"),
        ("- category\n- nut\n", "expected keys and values, found a list"),
        ("nut\n", "expected keys and values, found a str"),
    ],
)
def test_a_file_that_is_no_config_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = problems_of(write(tmp_path, text))
    assert re.fullmatch(message, problem)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (missing,) = problems_of(tmp_path / "missing.yaml")
    (folder,) = problems_of(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("category: Nuß".encode("latin-1"))
    (latin,) = problems_of(tmp_path / "latin.yaml")
    for problem in (missing, folder, latin):
        assert problem.startswith("cannot be read: ")


@pytest.mark.parametrize("steps", [350, 600, 1000])
def test_steps_that_would_not_start_near_pure_noise_are_refused(steps: int) -> None:
    with pytest.raises(ValidationError):
        GenerateConfig(steps=steps)


def test_an_alias_that_holds_itself_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text("category: &a [*a]\n")
    with pytest.raises(ConfigError, match="an alias holds itself"):
        load_config(tmp_path / "loop.yaml")


ALIASES = "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" if n else "a0: &a0 [" + "x, " * 9 + "x]\n" for n in range(10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + ALIASES, "expected at most 10000 values, found more with its aliases replaced"),
        (MINIMAL + "".join(f"key{n}: 1\n" for n in range(20_000)), "expected at most 100000 bytes, found 2.*"),
        ("[" * 50_000, "nested too deeply, or an alias holds itself"),
    ],
)
def test_a_file_that_would_take_long_to_read_is_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = problems_of(write(tmp_path, text))
    assert re.fullmatch(message, problem)


@pytest.mark.parametrize("name", [r"a\0b", r"\e[31mred", r"\ud800"])
@pytest.mark.parametrize("key", ["object_name: hex nut", "root: data", "model: some/base"])
def test_text_with_control_characters_is_refused_at_its_key(tmp_path: Path, key: str, name: str) -> None:
    problems = problems_of(write(tmp_path, MINIMAL.replace(key, f'{key.split(": ")[0]}: "{name}"')))
    assert any("expected text without control characters, found" in problem for problem in problems)
    assert all(key.split(":")[0] in problem for problem in problems)


def test_a_set_whose_order_python_would_choose_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(write(tmp_path, MINIMAL.replace("[hole]", "!!set {hole, crack}")))
    assert problem == "data.defects: expected text, a number, a list or keys, found a set"


@pytest.mark.parametrize("key", ["root: data", "root: out", "model: some/base"])
@pytest.mark.parametrize("place", ["~nobody-of-this-name/x", "x" * 300, "loop/x"])
def test_a_place_that_can_never_be_is_told_with_its_key(tmp_path: Path, key: str, place: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (problem,) = problems_of(write(tmp_path, MINIMAL.replace(key, f"{key.split(': ')[0]}: {place}")))
    assert re.match(rf"(data\.root|output\.root|base\.model): {place} cannot be a path: ", problem)


@pytest.mark.parametrize(
    ("key_path", "value"),
    [
        ("base.resolution", 2**40),
        ("train.steps", 10**30),
        ("train.rank", 10**12),
        ("train.learning_rate_unet", 1e300),
        ("train.latent_cache", 10**12),
        ("masks.samplers.reference", 1e308),
        ("generate.count", 10**12),
        ("generate.max_attempts", 1e300),
        ("generate.candidates", 10**9),
    ],
)
def test_numbers_beyond_any_use_are_refused(tmp_path: Path, key_path: str, value: float) -> None:
    content = yaml.safe_load(MINIMAL)
    part, *names = content, *key_path.split(".")
    for name in names[:-1]:
        part = part.setdefault(name, {})
    part[names[-1]] = value
    (problem,) = problems_of(write(tmp_path, yaml.safe_dump(content)))
    assert problem.startswith(f"{key_path}: input should be less than or equal to")


@pytest.mark.parametrize("root", ["gs://bucket/x", "http://host/x", "S3://bucket", "file:///x", "s3:/bucket"])
def test_a_url_of_another_kind_is_not_taken_for_a_folder(tmp_path: Path, root: str) -> None:
    problems = problems_of(write(tmp_path, MINIMAL.replace("root: out", f"root: '{root}'")))
    assert problems == [f"output.root: expected a folder of this machine or s3://bucket/folder, found '{root}'"]
