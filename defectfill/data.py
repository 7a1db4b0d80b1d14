"""A finished dataset in a training loop of one's own, with torch.

from torch.utils.data import DataLoader

from defectfill.data import DefectDataset, real_share_sampler

train = DefectDataset("out/hazelnut/runs/<key>/dataset", split="train", side=256)
sampler = real_share_sampler(train, real_share=0.5, draws=8000, seed=0)
for batch in DataLoader(train, batch_size=8, sampler=sampler):
    loss = step(batch["image"], batch["mask"])  # [8, 3, 256, 256] and [8, 1, 256, 256]
"""

from defectfill.model.evaluation.data import DefectDataset, Item, real_share_sampler

__all__ = ["DefectDataset", "Item", "real_share_sampler"]
