"""The arms of an evaluation: what each lets a detector learn from, with equal steps and equal draws of normals."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from defectfill.config.evaluate import ArmName
from defectfill.io.hashing import derive_seed, digest
from defectfill.model.evaluation.examples import Example

Pool = Mapping[str, Sequence[Example]]
"""Images by their defect."""


@dataclass(frozen=True)
class Arm:
    """What is drawn from."""

    real_shares: tuple[float, ...] = (1.0,)
    """Share of the draws of a defect that are real references, for equal parts of the steps one after the other."""
    pool: str = ""
    """The synthetic images: of the dataset, or of another painter; empty for none."""
    augmented: bool = True


ARMS: Mapping[ArmName, Arm] = {
    "real": Arm(augmented=False),
    "real_augmented": Arm(),
    "real_paste": Arm((0.5,), "paste"),
    "real_perlin": Arm((0.5,), "perlin"),
    "synthetic": Arm((0.0,), "dataset"),
    "mixed_75": Arm((0.75,), "dataset"),
    "mixed_50": Arm((0.5,), "dataset"),
    "mixed_25": Arm((0.25,), "dataset"),
    "two_stage": Arm((0.0, 1.0), "dataset"),
    "gates_off": Arm((0.5,), "gates_off"),
    "unseen": Arm((0.5,), "dataset"),
    "ceiling": Arm(),
}
FOLDS = 3
"""Of the cross-validation of `ceiling`."""


@dataclass(frozen=True)
class Material:
    """All images that the arms of a category draw from and are tested on."""

    references: Pool
    normals: Sequence[Example]
    test: Sequence[Example]
    pools: Mapping[str, Pool] = field(default_factory=dict)
    """Synthetic images by the name of their pool."""


@dataclass(frozen=True)
class Part:
    """One training of a trial: what it learns from, validates by and is tested on."""

    references: Pool
    synthetic: Pool
    normals: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]

    @property
    def defects(self) -> list[str]:
        """The defects that there is anything to learn of."""
        return sorted(name for name in {*self.references, *self.synthetic} if self._images(name))

    def contents(self) -> list[list[str]]:
        """Return the hashes of all images, by what they are for."""
        pools = (*self.references.values(), *self.synthetic.values(), self.normals, self.validation, self.test)
        return [[each.content for each in pool] for pool in pools]

    def _images(self, defect: str) -> int:
        return len(self.references.get(defect, ())) + len(self.synthetic.get(defect, ()))


def mixed_arm(real_share: float, arms: Sequence[ArmName] = tuple(ARMS)) -> ArmName:
    """Return of these arms the mixed one whose share of real draws is nearest to a dataset's own."""
    mixed = [name for name in arms if name.startswith("mixed_")]
    return min(mixed, key=lambda name: abs(ARMS[name].real_shares[0] - real_share))


def parts_of(name: ArmName, material: Material, validation_share: float) -> list[Part]:
    """Return the trainings of an arm: one, but one per fold of `ceiling` and one per defect of `unseen`.

    `unseen` has none where there is one defect only.
    What is held back for validation is the same in every arm. Nothing painted on a normal of it is learnt from.
    """
    if name == "ceiling":
        folds = (_fold(material, fold, validation_share) for fold in range(FOLDS))
        return [each for each in folds if any(tested.defect != "good" for tested in each.test)]
    if name == "unseen":
        return [
            _part(name, _without(material, defect), validation_share, tested)
            for defect in (material.references if len(material.references) > 1 else ())
            if (tested := [each for each in material.test if each.defect == defect])
        ]
    tested = [each for each in material.test if each.defect != "good"]
    return [_part(name, material, validation_share, tested)] if tested else []


def _part(name: ArmName, material: Material, share: float, tested: Sequence[Example]) -> Part:
    arm = ARMS[name]
    held_back = _held_back({**material.references, "good": material.normals}, share)
    normals_back = held_back.pop("good")
    apart = {each.origin for each in normals_back}
    pool = material.pools.get(arm.pool, {})
    return Part(
        references={defect: _rest(each, held_back[defect]) for defect, each in material.references.items()},
        synthetic={
            defect: [each for each in examples if each.origin not in apart] for defect, examples in pool.items()
        },
        normals=_rest(material.normals, normals_back),
        validation=[*(each for examples in held_back.values() for each in examples), *normals_back],
        test=[*tested, *(each for each in material.test if each.defect == "good")],
    )


def _fold(material: Material, fold: int, share: float) -> Part:
    """Return a fold of the cross-validation over all real defects; the references are always learnt from."""
    ordered = sorted(material.test, key=lambda each: digest([_group(each)]))
    groups = sorted({_group(each) for each in ordered}, key=lambda group: digest([group]))
    tested = {group for number, group in enumerate(groups) if number % FOLDS == fold}
    test = [each for each in ordered if _group(each) in tested]
    learnt = [each for each in ordered if _group(each) not in tested and each.defect != "good"]
    more = {
        defect: [*examples, *(each for each in learnt if each.defect == defect)]
        for defect, examples in material.references.items()
    }
    part = _part("ceiling", Material(material.references, material.normals, ()), share, [])
    kept_back = {each.sample_id for each in part.validation}
    references = {name: [each for each in rows if each.sample_id not in kept_back] for name, rows in more.items()}
    return Part(references, {}, part.normals, part.validation, test)


def _without(material: Material, defect: str) -> Material:
    """Return the same without one defect on the side that is learnt from."""
    pools = {
        name: {each: rows for each, rows in pool.items() if each != defect} for name, pool in material.pools.items()
    }
    references = {each: rows for each, rows in material.references.items() if each != defect}
    return Material(references, material.normals, material.test, pools)


def _held_back(pools: Pool, share: float) -> dict[str, list[Example]]:
    """Return what is held back of each pool for validation: `share` of its groups, at least one; none of a single one.

    A group that one pool holds back is held back by all that have others.
    """
    chosen = {name: _validation_groups(examples, share) for name, examples in pools.items()}
    anywhere = set().union(*chosen.values())
    held_back = {}
    for name, examples in pools.items():
        groups = {_group(each) for each in examples}
        apart = groups & anywhere if groups - anywhere else chosen[name]
        held_back[name] = [each for each in examples if _group(each) in apart]
    return held_back


def _validation_groups(examples: Sequence[Example], share: float) -> set[str]:
    """Return the groups that validate, small ones first: what is learnt from is scarce."""
    sizes = Counter(map(_group, examples))
    groups = sorted(sizes, key=lambda group: (sizes[group], digest(["validation", group])))
    return set(groups[: min(max(int(share * len(groups)), 1), len(groups) - 1)])


def _group(example: Example) -> str:
    """Return the group of an example; one without is a group by itself."""
    return example.group or example.origin


def _rest(examples: Sequence[Example], without: Sequence[Example]) -> list[Example]:
    out = {each.sample_id for each in without}
    return [each for each in examples if each.sample_id not in out]


def draw(part: Part, arm: Arm, step: int, steps: int, batch_size: int, seed: int) -> list[tuple[Example, int]]:
    """Return the examples of a step, each with the seed of its crop: half of them normals, the same ones in all arms.

    Defects are drawn equally often. Where a defect has only references or only synthetic images, these are drawn.
    """
    stage = step * len(arm.real_shares) // steps
    drawn = []
    rng = np.random.default_rng(derive_seed(seed, "anomalous", step))
    for number in range(batch_size - batch_size // 2):
        defect = part.defects[int(rng.integers(len(part.defects)))]
        wants_real, place = rng.random() < arm.real_shares[stage], rng.random()
        real, synthetic = part.references.get(defect, ()), part.synthetic.get(defect, ())
        pool = (real or synthetic) if wants_real else (synthetic or real)
        drawn.append((pool[int(place * len(pool))], derive_seed(seed, "crop", step, number)))
    rng = np.random.default_rng(derive_seed(seed, "normals", step))
    for number in range(batch_size // 2):
        drawn.append((part.normals[int(rng.integers(len(part.normals)))], derive_seed(seed, "normal", step, number)))
    return drawn
