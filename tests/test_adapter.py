"""The adapter's file: what a stock pipeline makes of it."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from defectfill.config.base import BaseConfig
from defectfill.config.train import TrainConfig
from defectfill.model.base.base import Base, encode_prompts, load_base
from defectfill.model.lora import ADAPTER_FILE
from defectfill.model.lora.adapter import (
    copy_adapter,
    dropout,
    fast_lora_forward,
    load_adapter,
    merged_adapter,
    remove_adapter,
    save_adapter,
    trainable_adapter,
)

PROMPT = "A nut with sks"


def run_unet(base: Base) -> torch.Tensor:
    """Return the UNet's output on a fixed input under the prompt, text encoder included."""
    inputs = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        text = encode_prompts(base, [PROMPT]).expand(2, -1, -1)
        return base.unet(inputs, torch.tensor([10, 700]), encoder_hidden_states=text).sample


@pytest.fixture(params=[False, True], ids=["attention", "convolutions"])
def saved(request: pytest.FixtureRequest, base: Base, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """Return an adapter whose weights are far from their start, and the output of the model that holds it."""
    with trainable_adapter(base, TrainConfig(rank=4, alpha=8, convolutions=request.param)) as groups:
        torch.manual_seed(0)
        for weights in groups:
            for weight in weights:
                torch.nn.init.normal_(weight, std=0.1)
        base.unet.eval()
        base.text_encoder.eval()
        save_adapter(copy_adapter(base), tmp_path)
        return tmp_path, run_unet(base)


def test_a_stock_pipeline_with_the_file_gives_the_trained_models_output(
    saved: tuple[Path, torch.Tensor], base_folder: Path
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    folder, trained = saved
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(base_folder, safety_checker=None, local_files_only=True)
    pipeline.load_lora_weights(folder)
    inputs = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        text = pipeline.encode_prompt(PROMPT, "cpu", 2, do_classifier_free_guidance=False)[0]
        output = pipeline.unet(inputs, torch.tensor([10, 700]), encoder_hidden_states=text).sample
    assert torch.equal(output, trained)


def test_the_painters_base_with_the_file_gives_the_trained_models_output(
    saved: tuple[Path, torch.Tensor], base: Base
) -> None:
    folder, trained = saved
    plain = run_unet(base)
    load_adapter(base, folder)
    assert torch.equal(run_unet(base), trained)
    assert not torch.allclose(plain, trained, atol=1e-3)


def test_loading_takes_the_place_of_the_adapter_before(
    saved: tuple[Path, torch.Tensor], base_folder: Path, tmp_path: Path
) -> None:
    folder, trained = saved
    base = load_base(BaseConfig(model=str(base_folder), resolution=64, device="cpu"))
    with trainable_adapter(base, TrainConfig()):
        save_adapter(copy_adapter(base), tmp_path / "other")
    load_adapter(base, tmp_path / "other")
    load_adapter(base, folder)
    assert torch.equal(run_unet(base), trained)


def test_a_training_finds_and_leaves_the_plain_base(saved: tuple[Path, torch.Tensor], base: Base) -> None:
    layers = [name for name, _ in base.unet.named_modules()]
    plain = run_unet(base)
    load_adapter(base, saved[0])
    with trainable_adapter(base, TrainConfig()):
        torch.testing.assert_close(run_unet(base), plain)
    assert torch.equal(run_unet(base), plain)
    assert [name for name, _ in base.unet.named_modules()] == layers


def test_the_file_carries_the_rank_and_both_models(saved: tuple[Path, torch.Tensor]) -> None:
    with safe_open(saved[0] / ADAPTER_FILE, "pt") as file:
        metadata, keys = file.metadata()["lora_adapter_metadata"], list(file.keys())
    assert '"unet.r": 4' in metadata
    assert '"text_encoder.lora_alpha": 4' in metadata
    assert {key.split(".")[0] for key in keys} == {"unet", "text_encoder"}
    assert all("text_model" in key for key in keys if key.startswith("text_encoder"))


def test_a_reader_that_knows_of_no_alpha_adds_the_trained_change_to_the_weights(
    saved: tuple[Path, torch.Tensor], base: Base
) -> None:
    folder, trained = saved
    with safe_open(folder / ADAPTER_FILE, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    downs = [name for name in weights if name.endswith((".lora_A.weight", ".lora.down.weight", "_layer.down.weight"))]
    with torch.no_grad():
        for name in downs:
            up = weights[name.replace("lora_A", "lora_B").replace(".down.", ".up.")]
            part, _, path = name.partition(".")
            module = {"unet": base.unet, "text_encoder": base.text_encoder}[part]
            path = path.removeprefix("text_model.") if not hasattr(module, "text_model") else path
            layer = module.get_submodule(path.split(".lora")[0])
            layer.weight += (up.flatten(1) @ weights[name].flatten(1)).view_as(layer.weight)
    assert 2 * len(downs) == len(weights)
    torch.testing.assert_close(run_unet(base), trained, rtol=1e-3, atol=1e-4)


def test_equal_adapters_are_equal_files(base: Base, tmp_path: Path) -> None:
    with trainable_adapter(base, TrainConfig()):
        for number in range(8):
            save_adapter(copy_adapter(base), tmp_path / str(number))
    assert len({(tmp_path / str(number) / ADAPTER_FILE).read_bytes() for number in range(8)}) == 1


def gradients(base: Base) -> list[torch.Tensor]:
    """Return the UNet's output, then the gradients of all LoRA weights."""
    inputs = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    text = encode_prompts(base, [PROMPT]).expand(2, -1, -1)
    output = base.unet(inputs, torch.tensor([10, 700]), encoder_hidden_states=text).sample
    weights = [
        weight for part in (base.unet, base.text_encoder) for weight in part.parameters() if weight.requires_grad
    ]
    return [output.detach(), *torch.autograd.grad(output.square().sum(), weights)]


def test_convolutions_are_adapted_where_that_is_asked(base: Base) -> None:
    convolutions = {name for name, layer in base.unet.named_modules() if isinstance(layer, torch.nn.Conv2d)}
    with trainable_adapter(base, TrainConfig(convolutions=True)):
        names = {name.rpartition(".lora")[0] for name in copy_adapter(base).unet}
    with trainable_adapter(base, TrainConfig()):
        attention = {name.rpartition(".lora")[0] for name in copy_adapter(base).unet}
    assert names - convolutions == attention
    assert names & convolutions == convolutions


@pytest.mark.parametrize("share", [0.0, 0.3], ids=["training", "evaluating"])
@pytest.mark.parametrize("convolutions", [False, True])
def test_the_fast_forward_computes_what_pefts_does(base: Base, share: float, convolutions: bool) -> None:
    torch.manual_seed(0)
    settings = TrainConfig(rank=4, alpha=8, dropout=share, convolutions=convolutions)
    with trainable_adapter(base, settings) as groups:
        for weight in (weight for weights in groups for weight in weights):
            torch.nn.init.normal_(weight, std=0.1)
        if share:
            base.unet.eval()
            base.text_encoder.eval()
        plain = gradients(base)
        with fast_lora_forward(base):
            fast = gradients(base)
        again = gradients(base)
    for ours, pefts, left_behind in zip(fast, plain, again, strict=True):
        torch.testing.assert_close(ours, pefts, rtol=1e-4, atol=1e-4 * float(pefts.abs().max()))
        assert torch.equal(left_behind, pefts)


def test_merged_layers_compute_what_the_adapter_does_and_leave_the_base_as_it_was(
    saved: tuple[Path, torch.Tensor], base: Base
) -> None:
    folder, trained = saved
    weights = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    load_adapter(base, folder)
    with merged_adapter(base):
        merged = run_unet(base)
    torch.testing.assert_close(merged, trained, rtol=1e-4, atol=1e-4 * float(trained.abs().max()))
    assert not torch.equal(merged, trained)  # it took another way
    with fast_lora_forward(base):
        fast = run_unet(base)
        with merged_adapter(base):
            assert torch.equal(run_unet(base), merged)
        assert torch.equal(run_unet(base), fast)
    assert torch.equal(run_unet(base), trained)
    remove_adapter(base)
    left = base.unet.state_dict()
    assert all(torch.equal(left[name], weight) for name, weight in weights.items())


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    torch.manual_seed(0)
    inputs = torch.ones(301, 403, requires_grad=True)  # no multiple of four elements
    output = dropout(inputs, 0.1)
    output.sum().backward()
    assert (output == 0).float().mean().item() == pytest.approx(0.1, abs=0.003)
    assert output.mean().item() == pytest.approx(1, abs=0.003)
    assert output.detach().unique().tolist() == pytest.approx([0, 1 / 0.9], rel=1e-4)
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, output.detach())
    assert torch.equal(dropout(inputs, 0.0), inputs)
    torch.manual_seed(1)
    first = dropout(inputs, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(inputs, 0.5), first)
