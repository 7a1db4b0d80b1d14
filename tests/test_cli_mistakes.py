"""The command line: what the user's mistakes lead to."""

import errno
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import CommandLine, contents

from defectfill.exit_codes import exit_codes
from defectfill.io.images import write_png


def png_header(side: int) -> bytes:
    """Return a PNG that says it is side x side pixels and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def truncate(category: Path) -> str:
    path = category / "train" / "good" / "001.png"
    path.write_bytes(path.read_bytes()[:3000])
    return str(path)


def write_text(category: Path) -> str:
    path = category / "test" / "hole" / "000.png"
    path.write_text("not a picture")
    return str(path)


def write_huge_header(category: Path) -> str:
    path = category / "train" / "good" / "huge.png"
    path.write_bytes(png_header(40_000))
    return str(path)


def empty_a_folder(category: Path) -> str:
    for path in (category / "train" / "good").iterdir():
        path.unlink()
    return str(category / "train" / "good")


def lose_the_category(category: Path) -> str:
    category.rename(category.with_name("washers"))
    return str(category)


def misspell_a_key(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    path.write_text(path.read_text().replace("candidates:", "candidtes:"))
    return "generate.candidtes: unknown key; did you mean 'candidates'?"


def put_a_file_where_the_output_goes(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    path.write_text(path.read_text().replace("/out}", "/toy.yaml/out}"))
    return f"output.root: {path} is not a folder that can be written to"


def break_the_vae_config(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    text = path.read_text()
    model = text.split("model: ")[1].split(",")[0]
    base = shutil.copytree(model, category.parents[1] / "broken")
    (base / "vae" / "config.json").write_text("{")
    path.write_text(text.replace(model, str(base)))
    return f"base.model: {base / 'vae' / 'config.json'}: not valid JSON"


def ask_for_a_word_of_several_tokens(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    path.write_text(path.read_text().replace("steps: 2, batch", "token: gap, steps: 2, batch"))
    return "train.token: expected a word that is one token, 'gap' becomes"


def name_a_base_that_is_not_there(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    model = path.read_text().split("model: ")[1].split(",")[0]
    path.write_text(path.read_text().replace(model, "models/sd2"))
    return "base.model: models/sd2 is no folder beside the config"


def lose_the_unet(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    base = category.parents[1] / "base"
    for part, name in (("vae", "config.json"), ("scheduler", "scheduler_config.json")):
        (base / part).mkdir(parents=True)
        (base / part / name).write_text("{}")
    text = path.read_text()
    model = text.split("model: ")[1].split(",")[0]
    path.write_text(text.replace(model, str(base)))
    return f"base.model: {base}: has no unet/config.json"


def cut_the_weights_short(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    text = path.read_text()
    model = text.split("model: ")[1].split(",")[0]
    base = shutil.copytree(model, category.parents[1] / "broken")
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    path.write_text(text.replace(model, str(base)))
    return f"base.model: {weights}: expected weights as safetensors, found a damaged or other file"


def break_the_tokenizer(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    text = path.read_text()
    model = text.split("model: ")[1].split(",")[0]
    base = shutil.copytree(model, category.parents[1] / "broken")
    (base / "tokenizer" / "tokenizer.json").write_text("{}")
    path.write_text(text.replace(model, str(base)))
    return f"base.model: {base}/tokenizer cannot be loaded: "


def draw_a_zone_that_is_no_picture(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    (category.parents[1] / "zone.png").write_text("not a picture")
    path.write_text(f"{path.read_text()}masks: {{zones: {{allowed: zone.png}}}}\n")
    return f"{category.parents[1] / 'zone.png'}: expected a PNG, JPEG, BMP, TIFF or WebP image"


def leave_a_mask_of_ones_own_black(category: Path) -> str:
    path = category.parents[1] / "toy.yaml"
    write_png(category.parents[1] / "own" / "black.png", np.zeros((9, 9), dtype=bool))
    path.write_text(f"{path.read_text()}masks: {{samplers: {{folder: 1}}, folder: own}}\n")
    return f"{category.parents[1] / 'own' / 'black.png'}: expected a mask, found nothing white"


def give_a_name_that_is_not_utf8(category: Path) -> str:
    path = category / "train" / "good" / "001.png"
    path.rename(path.with_name("\udcff.png"))
    return "\\udcff.png': expected a file name in UTF-8, found other bytes"


MISTAKES = [
    cut_the_weights_short,
    break_the_tokenizer,
    draw_a_zone_that_is_no_picture,
    leave_a_mask_of_ones_own_black,
    give_a_name_that_is_not_utf8,
    truncate,
    write_text,
    write_huge_header,
    empty_a_folder,
    lose_the_category,
    misspell_a_key,
    lose_the_unet,
    put_a_file_where_the_output_goes,
    break_the_vae_config,
    ask_for_a_word_of_several_tokens,
    name_a_base_that_is_not_there,
]


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_named_exits_with_2_and_leaves_nothing_behind(
    toy_config: Path,
    command_line: CommandLine,
    command: str,
    mistake: object,
) -> None:
    named = mistake(toy_config.parent / "data" / "washer")  # type: ignore[operator]
    before = contents(toy_config.parent)
    ended = command_line(command, toy_config)
    assert ended.code == 2
    assert named in ended.err
    assert "Traceback" not in ended.err
    assert contents(toy_config.parent) == before
    assert not (toy_config.parent / "out").exists()


def test_problems_of_base_data_and_token_are_told_together(toy_config: Path, command_line: CommandLine) -> None:
    first, second = truncate(toy_config.parent / "data" / "washer"), write_text(toy_config.parent / "data" / "washer")
    toy_config.write_text(toy_config.read_text().replace("steps: 2, batch", "token: gap, steps: 2, batch"))
    ended = command_line("check", toy_config)
    assert ended.code == 2
    assert first in ended.err
    assert second in ended.err
    assert "train.token: expected a word that is one token, 'gap' becomes" in ended.err


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_link_to_nothing_is_told_once(toy_config: Path, command_line: CommandLine, command: str) -> None:
    path = toy_config.parent / "data/washer/train/good/001.png"
    path.unlink()
    path.symlink_to(toy_config.parent / "nowhere.png")
    ended = command_line(command, toy_config)
    assert (ended.code, ended.err) == (2, f"{path}: expected a readable file, found: No such file or directory")


def test_a_hub_model_needs_a_pinned_revision(toy_config: Path, command_line: CommandLine) -> None:
    text = toy_config.read_text()
    model = text.split("model: ")[1].split(",")[0]
    toy_config.write_text(text.replace(model, "someone/some-inpainting"))
    ended = command_line("check", toy_config)
    assert ended.code == 2
    assert "base.revision" in ended.err


def test_lpips_without_its_packages_names_the_extra(toy_config: Path, command_line: CommandLine) -> None:
    toy_config.write_text(toy_config.read_text().replace("candidates: 2", "candidates: 2, distance: lpips"))
    ended = command_line("check", toy_config)
    assert ended.code == 2
    assert "generate.distance: lpips needs" in ended.err
    assert "defectfill[lpips]" in ended.err


@pytest.mark.parametrize("there", [True, False])
def test_verify_of_what_is_no_dataset_exits_with_2_and_one_line(
    tmp_path: Path, command_line: CommandLine, there: bool
) -> None:
    folder = tmp_path if there else tmp_path / "none"
    ended = command_line("verify", folder)
    assert ended.code == 2
    found = "an empty folder" if there else "nothing"
    assert ended.err == f"{folder}: expected a dataset folder with manifest.parquet, found {found}"


def test_a_count_that_cannot_be_is_a_mistake(toy_config: Path, command_line: CommandLine) -> None:
    ended = command_line("run", toy_config, "--count", 0)
    assert (ended.code, ended.err) == (2, "count: expected at least 1, found 0")
    ended = command_line("run", toy_config, "--count", 10**20)
    assert (ended.code, ended.err) == (2, f"count: expected at most 10000000, found {10**20}")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("category: washer", "category: gear", "category: expected one of washer"),
        ("[hole, scratch]", "[hole, rust]", "defects: expected some of hole"),
        ("base: {model: ", "base: {model: models/", "is no folder beside the config"),
    ],
)
def test_the_demo_names_what_it_cannot_make_and_leaves_nothing_behind(
    toy_config: Path,
    command_line: CommandLine,
    old: str,
    new: str,
    named: str,
) -> None:
    shutil.rmtree(toy_config.parent / "data")
    toy_config.write_text(toy_config.read_text().replace(old, new))
    ended = command_line("demo", toy_config)
    assert ended.code == 2
    assert named in ended.err
    assert [path.name for path in toy_config.parent.iterdir()] == ["toy.yaml"]


def test_a_prefect_server_that_does_not_answer_is_named(
    toy_config: Path, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    ended = command_line("run", toy_config)
    assert ended.code == 2
    assert "PREFECT_API_URL: no Prefect server answers at http://127.0.0.1:9/api" in ended.err


@pytest.mark.parametrize("folder", ["gone", "empty", "toy.yaml"])
def test_masks_of_ones_own_that_are_not_there_are_named_by_masks_too(
    toy_config: Path, command_line: CommandLine, folder: str
) -> None:
    (toy_config.parent / "empty").mkdir()
    toy_config.write_text(f"{toy_config.read_text()}masks: {{samplers: {{folder: 1}}, folder: {folder}}}\n")
    ended = command_line("masks", toy_config, "--out", toy_config.with_name("masks.png"))
    assert (ended.code, ended.err) == (2, f"masks.folder: expected images in {toy_config.parent / folder}, found none")


def test_a_sheet_takes_no_folders_place_and_gc_makes_no_folder(toy_config: Path, command_line: CommandLine) -> None:
    out, file = toy_config.parent / "sheets", toy_config.parent / "file"
    out.mkdir()
    file.touch()
    ended = command_line("masks", toy_config, "--out", out)
    assert ended.code == 2
    assert ended.err.startswith(f"--out {out}: expected the name of a PNG file")
    ended = command_line("masks", toy_config, "--out", file / "masks.png", "--count", 1)
    assert ended.code == 2
    assert ended.err == f"--out {file / 'masks.png'}: {file} is not a folder that can be written to"
    ended = command_line("gc", toy_config)
    assert (ended.code, ended.err) == (0, "")
    assert not (toy_config.parent / "out").exists()


def test_configs_that_cannot_be_read_are_named_once(tmp_path: Path, command_line: CommandLine) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    ended = command_line("deploy", tmp_path, tmp_path / "loop.yaml")
    assert (ended.code, ended.err.splitlines()) == (
        2,
        [
            f"{tmp_path}: cannot be read: Is a directory",
            f"{tmp_path / 'loop.yaml'}: cannot be read: Too many levels of symbolic links",
        ],
    )


def test_a_file_that_may_not_be_read_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, exit_codes():
        raise PermissionError(13, "Permission denied", "data/washer")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "data/washer: Permission denied\n"


def test_a_full_disk_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, exit_codes():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.code == 1
    assert capsys.readouterr().err == "No space left on device: make room and run again; what is finished is kept\n"


def test_names_of_files_do_not_control_the_terminal(toy_config: Path, command_line: CommandLine) -> None:
    good = toy_config.parent / "data" / "washer" / "train" / "good"
    (good / "\x1b[2J\u202etxt.gif").write_text("passed over, and named")
    assert r"\x1b[2J\u202etxt.gif" in command_line("check", toy_config).out
    (good / "\x1b[2J.png").write_text("not a picture, and refused")
    ended = command_line("check", toy_config)
    assert ended.code == 2
    assert r"\x1b[2J.png" in ended.err
    assert "\x1b" not in ended.err
