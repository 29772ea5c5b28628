"""Batches of a training for Lightning: item i of the training data is the batch of global step i."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
from torch.utils.data import DataLoader, Dataset

from im2hands.training.interruption import ignore_in_loader

if TYPE_CHECKING:
    from im2hands.training.loop import NetworkTask


class StepData(L.LightningDataModule):
    """Loaders that begin where the task stands."""

    def __init__(self, train: Dataset, validation: Dataset, task: NetworkTask, pin_memory: bool) -> None:
        super().__init__()
        self.train, self.validation, self.task, self.pin_memory = train, validation, task, pin_memory

    def train_dataloader(self) -> DataLoader:
        start = self.task.step
        return self._loader(self.train, range(start, self.task.settings.stretch_end(start)))

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.validation, range(len(self.validation)))

    def _loader(self, dataset: Dataset, items: range) -> DataLoader:
        workers = self.task.settings.workers
        return DataLoader(
            dataset,
            sampler=items,
            batch_size=None,
            num_workers=workers,
            pin_memory=self.pin_memory,
            worker_init_fn=ignore_in_loader,
        )
