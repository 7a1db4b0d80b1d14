"""The section `train`: LoRA training."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from defectfill.config.affects import Affects
from defectfill.config.loading import ConfigSection, Formerly
from defectfill.config.types import FolderName, Fraction


class LossWeights(ConfigSection):
    """L = defect L_def + object L_obj + attention L_attn (Eq. 9)."""

    defect: float = Field(default=0.5, ge=0)
    """Of L_def, inside the defect."""
    object: float = Field(default=0.2, ge=0)
    """Of L_obj, inside random boxes."""
    attention: float = Field(default=0.05, ge=0)
    """Of L_attn, the attention of [V*] against the defect's mask."""


class BoxesConfig(ConfigSection):
    """The random boxes whose union masks the object branch (M_rand)."""

    count: int = Field(default=30, ge=1, le=10_000)
    """Boxes of one mask."""
    min_side: Fraction = 0.03
    """Shortest side of a box, over the crop's side."""
    max_side: Fraction = 0.25
    """Longest side of a box, over the crop's side."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError("min_side is larger than max_side")
        return self


class TrainConfig(ConfigSection):
    """LoRA training, one adapter per defect."""

    steps: int = Field(default=2000, ge=1, le=10_000_000)
    """Optimizer steps."""
    batch_size: int = Field(default=4, ge=1, le=10_000)
    """Crops per step, over all processes."""
    rank: int = Field(default=8, ge=1, le=10_000)
    """LoRA's rank."""
    alpha: int = Field(default=16, ge=1)
    """LoRA's alpha: updates are scaled by alpha / rank."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of LoRA's input."""
    convolutions: bool = False
    """LoRA on the UNet's convolutions too, not only on the attention layers as in the paper: for a small base, whose
    attention sees coarse levels only, so that outlines and textures lie in its convolutions."""
    learning_rate_unet: float = Field(default=2e-4, gt=0, le=1)
    """AdamW's, of the UNet's LoRA."""
    learning_rate_text_encoder: float = Field(default=4e-5, gt=0, le=1)
    """AdamW's, of the text encoder's LoRA."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rates rise to their values."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW's."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are shortened to this norm."""
    weights: LossWeights = LossWeights()
    object_background: float = Field(default=0.3, ge=0, le=1)
    """The paper's alpha: weight of L_obj outside the defect (Eq. 7)."""
    weight_inside_square: bool = True
    """Eq. 5 and 7 as printed put the weight inside the square, so the background counts alpha squared."""
    reduction: Literal["mean", "area"] = "mean"
    """mean: over all elements; area: over the sum of weights, so small defects count as much as large ones."""
    boxes: BoxesConfig = BoxesConfig()
    max_resize: float = Field(default=1.125, ge=1, le=2)
    """Image and mask are enlarged by u in [1, max_resize] together, then cropped at random."""
    latent_cache: Annotated[int, Formerly("pool")] = Field(default=256, ge=0, le=1_000_000)
    """Crops that are encoded once, before the first step; steps draw from them. 0: every step encodes its own, and so
    it is where the steps of a short training encode less than the cache would."""
    latent_cache_boxes: Annotated[int, Formerly("pool_boxes")] = Field(default=2, ge=1)
    """Random-box masks for every crop of the cache."""
    sample_latents: bool = False
    """Draw latents from the autoencoder's posterior in every step, instead of taking its mode."""
    gradient_checkpointing: Annotated[Literal["auto"] | bool, Formerly("memory")] = "auto"
    """true: the batch goes through the UNet row by row, and the backward pass computes activations again. It takes
    longer and, but for which activations dropout drops, learns the same. auto: false, if there is memory enough."""
    processes: int = Field(default=1, ge=1)
    """Processes that share every batch, one per GPU."""
    checkpoint_every: Annotated[int, Affects.NOTHING] = Field(default=200, ge=1)
    """Steps between checkpoints; a training that is stopped goes on from the last one."""
    eval_every: Annotated[int, Formerly("look_every")] = Field(default=500, ge=1)
    """Steps between evaluations: a preview picture, and the loss of the references kept for validation. The last
    step has one too."""
    validation_references: int = Field(default=0, ge=0)
    """References of each defect that are not learnt from and tell how the loss goes on what is new."""
    select: Literal["last", "best"] = "last"
    """The adapter that is kept: after the last step, or of the evaluation with the lowest validation loss."""
    tensorboard: Annotated[bool, Affects.NOTHING] = False
    """Write the curve for TensorBoard too, below `tensorboard/` in the category's output; needs its extra."""
    token: str = Field(default="sks", min_length=1)
    """[V*]: a rare word that the tokenizer keeps as one token."""
    joint: bool = False
    """One adapter for all defects of the category, each under a word of its own, instead of one adapter each."""
    tokens: dict[FolderName, str] = Field(default={})
    """Defect -> its word, instead of `token`. With `joint` every defect needs one of its own; without, a word of the
    base's captions that comes near the damage is a head start."""
    prompt_defect: str = "A photo of {token}"
    """Of the defect branch; may name {object_name} too."""
    prompt_object: str = "A {object_name} with {token}"
    """Of the object branch, and of painting."""

    @field_validator("prompt_defect", "prompt_object")
    @classmethod
    def _has_token(cls, prompt: str) -> str:
        rest = re.sub(r"{token}|{object_name}", "", prompt)
        if "{token}" not in prompt or "{" in rest or "}" in rest:
            raise ValueError("a prompt holds {token}, perhaps {object_name}, and nothing else in braces")
        return prompt

    @model_validator(mode="after")
    def _every_process_has_rows(self) -> Self:
        if self.processes > self.batch_size:
            raise ValueError(f"processes: {self.processes} cannot share a batch of {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _something_to_select_by(self) -> Self:
        if self.select == "best" and self.validation_references == 0:
            raise ValueError("select: the best is found by its validation loss; set validation_references")
        return self

    @model_validator(mode="after")
    def _words_for_joint_training(self) -> Self:
        if self.joint and len(set(self.tokens.values())) < len(self.tokens):
            raise ValueError("tokens: expected another word for every defect")
        return self
