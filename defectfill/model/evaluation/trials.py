"""One trial: a detector trained on an arm, its best step by the validation part, tested on what was held out.

Shapes: B batch, S side of crops, H, W pixels of a scaled image.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from defectfill.config.evaluate import DetectorName, EvaluateConfig
from defectfill.io.errors import ModelError
from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray
from defectfill.model.evaluation.arms import Arm, Part, draw
from defectfill.model.evaluation.examples import Example, Images, augmented, draw_crop
from defectfill.model.evaluation.features import FeatureExtractor
from defectfill.model.evaluation.heads import LinearHead, build_unet
from defectfill.model.evaluation.metrics import average_precision, f1_max
from defectfill.model.evaluation.predictions import (
    SMOOTHED_PX,
    Predictions,
    count_predictions,
    image_score,
    scores_of,
)
from defectfill.records.evaluation import Scores, Training

LINEAR_RATE = 1e-2
"""Learning rate of the linear head."""
OVERLAP = 0.25
"""Of the windows that slide over an image."""
POOLED_PX = 21
"""AnomalyDiffusion's image score is the largest mean over so many pixels squared."""
FIRST_STEPS = 5
"""Of which the mean loss is the first one: a quick learner has learnt most of it within a tenth of the steps."""
AVERAGE = 0.98
"""Decay of the moving average of the weights, which is what is validated and tested: where a training ends is less a
matter of its last few steps."""
CONSTANT = 1e-3
"""Standard deviation of the logits below which a network says the same of every pixel."""
SEEDED = threading.Lock()
"""Held while weights are drawn: torch's generator is that of all threads."""


@dataclass(frozen=True)
class Bench:
    """What all trials of an evaluation share."""

    settings: EvaluateConfig
    images: Images
    extractor: FeatureExtractor
    device: torch.device
    selected_on_test: bool = False
    """The habit of AnomalyDiffusion's protocol: the step that is kept is the best one on the test images, by the sum of
    image AUROC, pixel AUROC, pixel AP and AUPRO. Such figures are not comparable with honest ones."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set, it ends trainings in all threads by KeyboardInterrupt."""

    @property
    def half(self) -> bool:
        """Whether trainings compute in bfloat16 where they can; weights and losses are float32."""
        precision = self.settings.precision
        return precision == "bf16" or (precision == "auto" and self.device.type != "cpu")

    def train_and_test(self, part: Part, arm: Arm, detector: DetectorName, seed: int) -> tuple[Training, Predictions]:
        """Train a detector on a part of an arm, and return how that went and what it says of the part's test images."""
        begun = time.perf_counter()
        with SEEDED:
            torch.manual_seed(derive_seed(seed, "detector"))
            network = self._network(detector, part, arm, seed)
        network, losses, curve, best_step, validated = self._fit(network, part, arm, detector, seed)
        logits = self._predict(network, part.test)
        tenth = max(len(losses) // 10, 1)
        training = Training(
            images=_count(part),
            first_loss=float(np.mean(losses[: min(tenth, FIRST_STEPS)])),
            last_loss=float(np.mean(losses[-tenth:])),
            validation_pixel_ap=tuple(curve),
            best_step=best_step,
            threshold=_threshold(validated, part.validation),
            constant=all(float(each.std()) < CONSTANT for each in logits),
            seconds=time.perf_counter() - begun,
        )
        return training, self._counted(logits, part.test)

    def _counted(self, logits: Sequence[NDArray[np.float32]], test: Sequence[Example]) -> Predictions:
        masks = [self.images.read(each)[1] for each in test]
        smoothed = POOLED_PX if self.selected_on_test else SMOOTHED_PX
        return count_predictions(logits, masks, [e.sample_id for e in test], [e.defect for e in test], smoothed)

    def _network(self, detector: DetectorName, part: Part, arm: Arm, seed: int) -> nn.Module:
        if detector == "linear":
            example, _ = self._batch(part, arm, 0, seed)
            return LinearHead(self.extractor, example).to(self.device)
        return build_unet().to(self.device)

    def _fit(
        self, network: nn.Module, part: Part, arm: Arm, detector: DetectorName, seed: int
    ) -> tuple[nn.Module, list[float], list[float], int, list[NDArray[np.float32]]]:
        """Train; return the network, the losses, the pixel AP of the validation part at every check and the step kept.

        The network is the average of the weights at that step. Last are its logits [H, W] of the validation part.
        """
        from monai.losses import DiceFocalLoss

        settings, learnt = self.settings, [each for each in network.parameters() if each.requires_grad]
        rate = settings.learning_rate if detector == "unet" else LINEAR_RATE
        optimizer, loss_of = torch.optim.AdamW(learnt, lr=rate), DiceFocalLoss(sigmoid=True, batch=True)
        averaged = AveragedModel(network, avg_fn=_average)
        checked = {round(settings.steps * (number + 1) / settings.checks) for number in range(settings.checks)} - {0}
        losses, curve, best, best_step = list[float](), list[float](), dict[str, Tensor](), 0
        validated = list[NDArray[np.float32]]()
        for step in range(settings.steps):
            if self.stopped.is_set():
                raise KeyboardInterrupt
            images, masks = self._batch(part, arm, step, seed)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                logits = network.train()(images)
            loss = loss_of(logits.float(), masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise ModelError(f"{detector}: step {step + 1}: the loss is not finite; try a smaller learning_rate")
            if step + 1 in checked:
                found = self._predict(averaged, part.validation)
                curve.append(self._validate(averaged, part, found))
                if curve[-1] >= max(curve):
                    best_step, validated = step + 1, found
                    best = {name: weight.detach().clone() for name, weight in averaged.state_dict().items()}
        averaged.load_state_dict(best)
        return averaged, losses, curve, best_step, validated

    def _batch(self, part: Part, arm: Arm, step: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return images [B, 3, S, S] in [0, 1] and masks [B, 1, S, S] of a step."""
        crops, labels = [], []
        for example, crop_seed in draw(part, arm, step, self.settings.steps, self.settings.batch_size, seed):
            rng = np.random.default_rng(crop_seed)
            crop, label = draw_crop(*self.images.read(example), self.settings.crop_px, rng)
            if arm.augmented:
                crop, label = augmented(crop, label, rng)
            crops.append(crop)
            labels.append(label)
        return as_tensor(np.stack(crops)).to(self.device), torch.from_numpy(np.stack(labels))[:, None].float().to(
            self.device
        )

    def _validate(self, network: nn.Module, part: Part, logits: Sequence[NDArray[np.float32]]) -> float:
        """Return the pixel AP of logits of the validation images, 0 without any, or what selected_on_test says."""
        if self.selected_on_test:
            found = self._counted(self._predict(network, part.test), part.test)
            return sum(_sum(scores_of(found, defect, 0.5)) for defect in {*found.defects} - {"good"})
        if not part.validation:
            return 0.0
        masks = [self.images.read(each)[1] for each in part.validation]
        pixels, labels = (np.concatenate([each.ravel() for each in arrays]) for arrays in (logits, masks))
        return average_precision(pixels, labels) or 0.0

    @torch.inference_mode()
    def _predict(self, network: nn.Module, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Return the logits [H, W] of each image, seen whole by a sliding window."""
        from monai.inferers import sliding_window_inference

        network.eval()
        side, found = self.settings.crop_px, []
        for example in examples:
            image = as_tensor(self.images.read(example)[0][None]).to(self.device)
            logits = sliding_window_inference(
                image,
                (side, side),
                self.settings.batch_size,
                network,
                overlap=OVERLAP,
                mode="gaussian",
                padding_mode="replicate",
            )
            found.append(logits[0, 0].float().cpu().numpy())
        return found


def _average(average: Tensor, weight: Tensor, updates: int | Tensor) -> Tensor:
    """Return the moving average of a weight; the first updates have less of a past to keep."""
    return torch.lerp(weight, average, min(AVERAGE, (1 + float(updates)) / (10 + float(updates))))


def _sum(scores: Scores) -> float:
    return sum(each or 0 for each in (scores.image_auroc, scores.pixel_auroc, scores.pixel_ap, scores.au_pro_30))


def detector_device() -> torch.device:
    """Return where detectors are trained: on the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def thread_share(workers: int) -> Callable[[], None]:
    """Return what gives the thread that calls it one of `workers` shares of the threads that torch computes with."""
    share = max(torch.get_num_threads() // workers, 1)
    return lambda: torch.set_num_threads(share)


def as_tensor(images: ImageArray) -> Tensor:
    """Return images [B, H, W, 3] of 8 bits as [B, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def _count(part: Part) -> dict[str, int]:
    pools = {"real": part.references, "synthetic": part.synthetic}
    return {**{name: sum(map(len, pool.values())) for name, pool in pools.items()}, "normal": len(part.normals)}


def _threshold(logits: Sequence[NDArray[np.float32]], examples: Sequence[Example]) -> float:
    """Return the image score at which F1 over the validation part is largest; 0.5 without anything anomalous in it.

    Of all thresholds between two scores, which call the same images anomalous, it is the middle one.
    """
    scores = np.array([image_score(each) for each in logits])
    best = f1_max(scores, np.array([each.defect != "good" for each in examples]))
    if best is None:
        return 0.5
    return float(best[1] + scores[scores < best[1]].max(initial=0.0)) / 2
