"""Pretraining of a small base: resumable to the byte, and a base that everything else can use."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PRETRAIN_CONFIG, contents
from diffusers.schedulers import DDIMScheduler
from safetensors.torch import load

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError
from defectfill.io.files import read_table
from defectfill.io.images import write_png
from defectfill.model.base.base import decode_latents, encode_images, load_base
from defectfill.model.base.identity import identify_base
from defectfill.model.pretraining.architectures import VELOCITY_SCHEDULER
from defectfill.model.pretraining.autoencoder import autoencoder_losses, colour_error, grain_error
from defectfill.model.pretraining.config import load_pretrain_config
from defectfill.model.pretraining.denoiser import _spread, denoising_loss, shifted
from defectfill.model.pretraining.pictures import (
    draw_crops,
    gather_pictures,
)
from defectfill.model.pretraining.pretrain import pretrain
from defectfill.model.pretraining.timing import pretraining_seconds


def weights_of(folder: Path) -> dict[str, bytes]:
    return {path: content for path, content in contents(folder).items() if path.endswith((".safetensors", ".parquet"))}


def test_the_finished_base_loads_and_names_itself(pretrain_path: Path) -> None:
    folder = pretrain(load_pretrain_config(pretrain_path))
    config = BaseConfig(model=str(folder), resolution=32, device="cpu")
    assert identify_base(config).model == "base"
    base = load_base(config)
    latents = encode_images(base, torch.zeros(1, 3, 32, 32))
    assert latents.shape == (1, 4, 4, 4)
    assert decode_latents(base, latents).shape == (1, 3, 32, 32)
    assert base.vae.config.scaling_factor != 0.18215
    assert {"reconstructions.png", "fills.png", "pretrain.json"} <= contents(folder).keys()
    assert [row["step"] for row in read_table(folder / "denoiser.parquet")] == [0, 1, 2, 3]
    assert [path.name for path in folder.parent.iterdir() if "work" in path.name] == []


def test_pictures_of_a_12_bit_camera_are_as_bright_as_they_are(pretrain_path: Path) -> None:
    shade = np.arange(256, dtype=np.uint16).reshape(16, 16, 1)
    for name, factor in (("byte", 1), ("camera", 16)):
        write_png(
            pretrain_path.parent / name / "0.png", (shade * factor).astype(np.uint8 if factor == 1 else np.uint16)
        )
    folders = "pictures: {folders: {byte: byte, camera: camera}, side_px: 64}"
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("pictures: {toys: {washer: 4, wood: 3}, side_px: 64}", folders))
    byte, camera = gather_pictures(load_pretrain_config(pretrain_path)).pixels.astype(int)
    assert np.abs(byte - camera).max() <= 1


def test_latents_have_unit_variance_in_the_directions_that_carry_the_picture(pretrain_path: Path) -> None:
    config = load_pretrain_config(pretrain_path)
    base = load_base(BaseConfig(model=str(pretrain(config)), resolution=32, device="cpu"))
    pictures = gather_pictures(config)
    rows = np.random.default_rng(0).integers(len(pictures.pixels), size=64)
    latents = encode_images(base, draw_crops(pictures, rows, 32, 32, colour=0.0, rng=np.random.default_rng(1)))
    covariance = latents.transpose(0, 1).flatten(1).cov()
    assert (covariance.square().sum() / covariance.trace()).item() == pytest.approx(1, rel=0.3)


def test_painting_with_a_new_base_starts_where_no_trace_of_the_picture_is_left() -> None:
    scheduler = DDIMScheduler.from_config(VELOCITY_SCHEDULER)
    scheduler.set_timesteps(20)
    assert scheduler.alphas_cumprod[scheduler.timesteps[0]] == 0
    assert scheduler.timesteps[0] == VELOCITY_SCHEDULER["num_train_timesteps"] - 1


def test_the_same_config_trains_the_same_weights(pretrain_path: Path, tmp_path: Path) -> None:
    first = weights_of(pretrain(load_pretrain_config(pretrain_path)))
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("output: base", "output: again"))
    torch.randn(5)  # the global generator's state must not matter
    assert weights_of(pretrain(load_pretrain_config(pretrain_path))) == first


def test_a_finished_base_is_left_alone(pretrain_path: Path) -> None:
    config = load_pretrain_config(pretrain_path)
    before = contents(pretrain(config))
    assert contents(pretrain(config)) == before


def test_equal_pictures_lose_nothing_and_blur_costs_in_the_edges() -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(pictures, 3, stride=1, padding=1)
    same = autoencoder_losses(pictures, pictures, sharpness=0.5)
    blur = autoencoder_losses(pictures, blurred, sharpness=0.5)
    assert same["total"].item() == 0
    assert blur["edges"] > blur["pixels"] > 0
    assert blur["total"].item() == pytest.approx((blur["pixels"] + 0.5 * blur["edges"]).item())


def test_colour_errors_count_where_colours_differ_and_not_where_brightness_does() -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    brighter, grey = pictures + 0.3, pictures.mean(dim=1, keepdim=True).expand_as(pictures)
    assert colour_error(pictures, pictures).item() == 0
    assert colour_error(pictures, brighter).item() == pytest.approx(0, abs=1e-10)
    assert colour_error(pictures, grey).item() > 0.001
    redder = pictures + torch.tensor([0.2, 0.0, 0.0]).view(3, 1, 1)
    assert colour_error(pictures, redder).item() == pytest.approx((0.2**2 + 0.1**2) / 4, rel=1e-4)


def test_grain_counts_by_its_strength_and_not_by_where_it_lies() -> None:
    first, second = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    smooth = torch.zeros_like(first)
    assert grain_error(first, first).item() == 0
    assert grain_error(first, first + 0.3).item() == pytest.approx(0, abs=1e-4)
    assert grain_error(first, second) < 0.2 < 2 < grain_error(first, smooth)
    assert grain_error(first, 2 * first) == pytest.approx(np.log(2), rel=0.1)
    assert (second - first).abs().mean() > (smooth - first).abs().mean(), "pixels alone would have it smooth"


def test_grain_colours_and_the_average_change_the_weights(pretrain_path: Path) -> None:
    plain = weights_of(pretrain(load_pretrain_config(pretrain_path)))
    for part, section, setting in [
        ("vae", "autoencoder", "grain: 0.1"),
        ("vae", "autoencoder", "colour: 10"),
        ("unet", "denoiser", "average: 0.9"),
    ]:
        name, output = f"{part}/diffusion_pytorch_model.safetensors", setting.split(":")[0]
        pretrain_path.write_text(
            PRETRAIN_CONFIG.replace("output: base", f"output: {output}").replace(
                f"{section}: {{", f"{section}: {{{setting}, "
            )
        )
        assert weights_of(pretrain(load_pretrain_config(pretrain_path)))[name] != plain[name], setting


def test_mixed_precision_learns_nearly_the_same(pretrain_path: Path) -> None:
    full = pretrain(load_pretrain_config(pretrain_path))
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("output: base", "output: mixed\nprecision: bf16"))
    mixed = pretrain(load_pretrain_config(pretrain_path))
    assert weights_of(mixed) != weights_of(full)
    for part in ("autoencoder", "denoiser"):
        losses = [[row["total"] for row in read_table(folder / f"{part}.parquet")] for folder in (full, mixed)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


START = """
output: further
start: base
resolution: 64
pictures: {toys: {nut: 3}, side_px: 64}
autoencoder: {steps: 2, batch_size: 2, crop_px: 32, PARTS}
denoiser: {steps: DENOISER, batch_size: 2, views: 2, closest_px: 32}
device: cpu
"""


def _go_on(pretrain_path: Path, parts: str, denoiser: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files of a base, and of the one that a training from it leaves."""
    first = pretrain(load_pretrain_config(pretrain_path))
    further = pretrain_path.with_name("further.yaml")
    further.write_text(START.replace("PARTS", f"parts: {parts}").replace("DENOISER", str(denoiser)))
    return contents(first), contents(pretrain(load_pretrain_config(further)))


def test_a_training_goes_on_from_a_base_and_keeps_its_sizes_scale_and_name(pretrain_path: Path) -> None:
    before, after = _go_on(pretrain_path, "all", denoiser=2)
    for part in ("vae", "unet"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        assert len(after[name]) == len(before[name])
        assert after[name] != before[name]
    assert (
        json.loads(after["vae/config.json"])["scaling_factor"]
        == json.loads(before["vae/config.json"])["scaling_factor"]
    )
    assert json.loads(after["unet/config.json"])["sample_size"] == 64 // 8
    record = json.loads(after["pretrain.json"])
    assert record["start"]["model"] == "base"
    assert not {"factor", "channels"} & {*record["autoencoder"], *record["denoiser"]}
    assert str(pretrain_path.parent).encode() not in after["vae/config.json"] + after["unet/config.json"]
    assert after.keys() == before.keys()


def test_latents_are_scaled_anew_where_the_denoiser_has_learnt_nothing_of_them_yet(pretrain_path: Path) -> None:
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("denoiser: {steps: 4", "denoiser: {steps: 0"))
    before, after = _go_on(pretrain_path, "all", denoiser=2)
    old, new = (json.loads(files["vae/config.json"])["scaling_factor"] for files in (before, after))
    assert old != new


def test_with_the_decoder_alone_latents_and_denoiser_stay(pretrain_path: Path) -> None:
    before, after = _go_on(pretrain_path, "decoder", denoiser=0)
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        assert after[f"{part}.safetensors"] == before[f"{part}.safetensors"]
    old, new = (load(files["vae/diffusion_pytorch_model.safetensors"]) for files in (before, after))
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"decoder", "post_quant_conv"}
    assert "denoiser.parquet" not in after
    third = pretrain_path.with_name("third.yaml")
    again = START.replace("PARTS", "parts: all").replace("DENOISER", "2")
    third.write_text(again.replace("further", "third").replace("start: base", "start: further"))
    scales = [
        json.loads(files["vae/config.json"])["scaling_factor"]
        for files in (before, contents(pretrain(load_pretrain_config(third))))
    ]
    assert scales[0] == scales[1], "a denoiser that learnt before the step before is no autoencoder alone"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "autoencoder: {",
            "autoencoder: {latent_channels: 4, ",
            "autoencoder.latent_channels: the base that `start` names has sizes",
        ),
        ("start: base", "start: nowhere", "start: nowhere is no folder"),
    ],
)
def test_what_does_not_fit_a_base_to_start_from_is_refused(
    pretrain_path: Path, old: str, new: str, problem: str
) -> None:
    pretrain(load_pretrain_config(pretrain_path))
    further = pretrain_path.with_name("further.yaml")
    further.write_text(START.replace("PARTS", "parts: all").replace("DENOISER", "0").replace(old, new))
    with pytest.raises(ConfigError) as caught:
        pretrain(load_pretrain_config(further))
    assert any(problem in each for each in caught.value.problems)


def test_an_autoencoder_that_learns_nothing_needs_a_base(pretrain_path: Path) -> None:
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("autoencoder: {steps: 4", "autoencoder: {steps: 0"))
    with pytest.raises(ConfigError, match="expected at least 1 without a base to start from"):
        load_pretrain_config(pretrain_path)


def test_the_time_is_measured_without_changing_a_weight(pretrain_path: Path) -> None:
    config = load_pretrain_config(pretrain_path)
    base = load_base(BaseConfig(model=str(pretrain(config)), resolution=32, device="cpu"))
    parts = (base.vae, base.unet, base.text_encoder)
    before = [{name: weight.clone() for name, weight in part.state_dict().items()} for part in parts]
    pictures = gather_pictures(config)
    short = pretraining_seconds(config, base, pictures)
    twice = config.model_copy(update={"denoiser": config.denoiser.model_copy(update={"steps": 4000})})
    none = config.model_copy(update={"denoiser": config.denoiser.model_copy(update={"steps": 0})})
    assert min(short.values()) > 0
    assert pretraining_seconds(none, base, pictures)["encode views"] == 0
    assert pretraining_seconds(twice, base, pictures)["denoiser"] > 100 * short["denoiser"]
    for part, weights in zip(parts, before, strict=True):
        assert all(torch.equal(weight, weights[name]) for name, weight in part.state_dict().items())
        assert not any(weight.requires_grad for weight in part.parameters())


def test_the_denoising_loss_counts_marks_most_and_every_row_the_same() -> None:
    target, holes = torch.zeros(2, 1, 1, 3), torch.tensor([[[[1.0, 1.0, 0.0]]], [[[1.0, 0.0, 0.0]]]])
    predicted, marks = torch.tensor([[[[2.0, 1.0, 1.0]]], [[[3.0, 4.0, 2.0]]]]), torch.zeros_like(holes)
    marks[0, 0, 0, 0] = 1
    rows = [(3 * 4 + 1 + 0.02) / 4.02, (9 + 0.02 * (16 + 4)) / 1.04]
    assert denoising_loss(target, predicted, holes, marks).item() == pytest.approx(np.mean(rows))


def test_no_timestep_lies_beyond_the_last_one() -> None:
    last = _spread(64, torch.Generator().manual_seed(988319))[-1]  # drawn so near to 1 that float32 would round it up
    assert last.float() == 1
    assert [int(shifted(last, shift) * 1000) for shift in (1, 2, 8)] == [999, 999, 999]


def test_a_shift_moves_timesteps_towards_noise_in_their_order() -> None:
    shares = torch.linspace(0, 1, 9)
    assert torch.equal(shifted(shares, 1), shares)
    np.testing.assert_allclose(shifted(torch.tensor([0.0, 0.25, 0.5, 1.0]), 3), [0, 0.5, 0.75, 1])
    assert (shifted(shares, 3).diff() > 0).all()


def test_mistakes_in_the_config_are_named_together(pretrain_path: Path) -> None:
    pretrain_path.write_text(
        PRETRAIN_CONFIG.replace("resolution: 32", "resolutoin: 32").replace("views: 2", "views: 0")
    )
    with pytest.raises(ConfigError) as caught:
        load_pretrain_config(pretrain_path)
    assert any("resolutoin: unknown key; did you mean 'resolution'?" in problem for problem in caught.value.problems)
    assert any("denoiser.views" in problem for problem in caught.value.problems)


def test_the_example_config_loads() -> None:
    config = load_pretrain_config(Path(__file__).parents[1] / "configs" / "pretrain" / "mini.yaml")
    assert sum(config.pictures.toys.values()) > 0


def test_what_is_in_the_way_of_the_output_is_left_alone(pretrain_path: Path) -> None:
    (pretrain_path.parent / "base").mkdir()
    (pretrain_path.parent / "base" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no pretrained base"):
        pretrain(load_pretrain_config(pretrain_path))
    assert contents(pretrain_path.parent / "base") == {"thesis.txt": b"mine"}


def test_the_base_of_another_config_is_not_taken_for_this_ones(pretrain_path: Path) -> None:
    pretrain(load_pretrain_config(pretrain_path))
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("denoiser: {steps: 4", "denoiser: {steps: 5"))
    with pytest.raises(ConfigError, match="holds the base of another config"):
        pretrain(load_pretrain_config(pretrain_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("washer: 4", "bolt: 4", "toys: expected some of"),
        ("toys: {washer: 4, wood: 3}", "toys: {}", "found none of them"),
        ("closest_px: 32", "closest_px: 96", "pictures.side_px: expected 96 at least"),
        ("[8, 8, 16, 16]", "[8, 8, 16, 20]", "autoencoder.channels.3"),
        ("[32, 32, 64]", "[32, 32, 60]", "denoiser.channels.2"),
    ],
)
def test_sizes_that_cannot_be_are_named_before_anything_runs(
    pretrain_path: Path, old: str, new: str, message: str
) -> None:
    pretrain_path.write_text(PRETRAIN_CONFIG.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_pretrain_config(pretrain_path)


def test_polishing_goes_on_with_unmarked_views_and_changes_the_weights(pretrain_path: Path) -> None:
    text = PRETRAIN_CONFIG.replace("denoiser: {", "denoiser: {marks: 0.5, ")
    pretrain_path.write_text(text)
    plain = pretrain(load_pretrain_config(pretrain_path))
    polished = pretrain_path.with_name("polished.yaml")
    polished.write_text(
        text.replace("marks: 0.5", "marks: 0.5, polish_steps: 2").replace("output: ", "output: polished-")
    )
    folder = pretrain(load_pretrain_config(polished))
    steps, more = (read_table(each / "denoiser.parquet") for each in (plain, folder))
    assert more[: len(steps)] == steps
    assert [row["step"] for row in more] == [0, 1, 2, 3, 4, 5]
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert (folder / weights).read_bytes() != (plain / weights).read_bytes()


@pytest.mark.parametrize("output", ["~nobody-of-this-name/x", "x" * 300])
def test_an_output_that_can_never_be_is_told_with_its_key(pretrain_path: Path, output: str) -> None:
    line_before = next(line for line in pretrain_path.read_text().splitlines() if line.startswith("output:"))
    pretrain_path.write_text(pretrain_path.read_text().replace(line_before, f"output: {output}"))
    with pytest.raises(ConfigError, match=f"{pretrain_path}: output: {output} cannot be a path: "):
        load_pretrain_config(pretrain_path)
