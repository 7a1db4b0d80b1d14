"""The recorded attention of [V*]: right values, right rows, live gradients."""

import torch

from defectfill.model.base.base import Base, encode_prompts, find_token
from defectfill.model.training.attention import record_token_attention

PROMPTS = ("A photo of sks", "A nut with sks")


def call_unet(base: Base, rows: int = 2) -> torch.Tensor:
    """Return the UNet's output for 2 x rows random inputs, the object prompt in the second half."""
    inputs = torch.randn(2 * rows, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    text = encode_prompts(base, PROMPTS).repeat_interleave(rows, dim=0)
    return base.unet(inputs, torch.full((2 * rows,), 500), encoder_hidden_states=text).sample


def plain_maps(base: Base, index: int) -> list[torch.Tensor]:
    """Return the token's maps of the second half of the rows, from hooks on the layers' own projections."""
    maps: list[torch.Tensor] = []

    def record(attn: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
        hidden, text = args[0], kwargs["encoder_hidden_states"]
        probabilities = attn.get_attention_scores(
            attn.head_to_batch_dim(attn.to_q(hidden)), attn.head_to_batch_dim(attn.to_k(text))
        )
        rows, positions = hidden.shape[:2]
        column = probabilities.view(rows, attn.heads, positions, -1)[rows // 2 :, ..., index].mean(dim=1)
        side = int(positions**0.5)
        maps.append(column.view(-1, 1, side, side))

    layers = [m for name, m in base.unet.named_modules() if name.startswith("up_blocks") and name.endswith("attn2")]
    handles = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    call_unet(base)
    for handle in handles:
        handle.remove()
    return maps


def test_the_maps_equal_those_of_the_classic_attention(base: Base) -> None:
    index = find_token(base.tokenizer, PROMPTS[1], "sks")
    with torch.no_grad():
        expected = plain_maps(base, index)
        with record_token_attention(base.unet, index) as recorder:
            call_unet(base)
    assert len(recorder.maps) == len(expected) == 4
    for recorded, plain in zip(recorder.maps, expected, strict=True):
        torch.testing.assert_close(recorded, plain)


def test_recording_does_not_change_the_output(base: Base) -> None:
    with torch.no_grad():
        plain = call_unet(base)
        with record_token_attention(base.unet, 4):
            recorded = call_unet(base)
    torch.testing.assert_close(recorded, plain)


def test_text_given_once_per_prompt_is_that_of_all_its_rows(base: Base) -> None:
    inputs = torch.randn(6, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs, maps = [], []
    with torch.no_grad(), record_token_attention(base.unet, 4) as recorder:
        text = encode_prompts(base, PROMPTS)
        for states in (text, text.repeat_interleave(3, dim=0)):
            recorder.begin()
            outputs.append(base.unet(inputs, torch.full((6,), 500), encoder_hidden_states=states).sample)
            maps.append(recorder.collect(8))
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*maps)


def test_collected_maps_are_probabilities_of_the_object_rows(base: Base) -> None:
    with torch.no_grad(), record_token_attention(base.unet, 4) as recorder:
        call_unet(base, rows=3)
        collected = recorder.collect(8)
    assert collected.shape == (3, 1, 8, 8)
    assert 0 < collected.min() <= collected.max() < 1
    assert recorder.maps == []


def test_the_processors_are_put_back(base: Base) -> None:
    before = base.unet.attn_processors
    with record_token_attention(base.unet, 4):
        assert base.unet.attn_processors != before
    assert base.unet.attn_processors == before
