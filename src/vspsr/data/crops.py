"""Training crops as a pure function of (seed, step, index): a resumed run, or one with other numbers of workers and
processes, gets exactly the same crops.

Step t with B images in total takes places tB … tB + B − 1 of an endless series: the images in a random order, then in
another, and so on, each once per pass. The crop's place, flip and quarter turns come from a generator of its own,
numpy's SFC64 seeded by (seed, step, index).
"""

import math
import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from vspsr.data.augment import ROTATED, extent, recoloured, rotated, sharpened, shrunk
from vspsr.data.cache import ImageCache
from vspsr.data.files import ImagePair
from vspsr.degradation.operator import Degradation
from vspsr.errors import ImageFileError, ImageFileWarning

__all__ = ["Batch", "CropDataset", "StepSampler", "crop_loader", "random_stream"]

Batch = dict[str, Tensor]
"""`hr` (B, 3, s·c, s·c) and `lr` (B, 3, c, c), uint8; `step` and `first` (the index of the first crop in the step)."""

Key = tuple[int, int, int, int]
"""(step, index in the step, number of crops of the step, LR pixels of the crop)."""

_ORDER, _CROP = 0, 1


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on (seed, key) only."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


class CropDataset(Dataset[Any]):
    """Random crops of images, with their LR images.

    Without LR files, the LR crop is the HR crop downscaled and rounded to 8 bits: the projection onto consistency
    is then exact for the crop by itself. With them, HR crops lie on the grid of LR pixels.

    Args:
        pairs: the images, none smaller than a crop.
        degradation: D.
        seed: ≥ 0.
        memory: bytes for decoded images, shared by all workers.
        augment: flips and quarter turns.
        shrink: ≥ 1. With probability ½ a crop comes from its image shrunk by a factor between 1 and this,
            so that the same photos also show finer and sharper detail. No effect with LR files.
        rotate: crops made smaller by at least a quarter are taken at any angle.
        colour: strength of random changes of tone, white balance and saturation: 0 for none, 1 for usual ones.
        sharpen: with probability ½ a crop gets an unsharp mask of up to this strength: 0 for none, 1 for usual ones.
            `rotate`, `colour` and `sharpen` have no effect with LR files either.
    """

    def __init__(
        self,
        pairs: Sequence[ImagePair],
        degradation: Degradation,
        seed: int,
        memory: int,
        augment: bool = True,
        shrink: float = 1.0,
        rotate: bool = False,
        colour: float = 0.0,
        sharpen: float = 0.0,
    ) -> None:
        self.pairs, self.degradation, self.seed, self.augment = list(pairs), degradation, seed, augment
        self.memory, self.shrink, self.rotate, self.colour = memory, shrink, rotate, colour
        self.sharpen = sharpen
        self._cache: ImageCache | None = None
        self._unreadable: set[int] = set()
        self._order = lru_cache(maxsize=2)(self._permutation)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_cache", "_order")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _cache=None, _order=lru_cache(maxsize=2)(self._permutation))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor | None]:
        """HR crop, and LR crop where there are LR files.

        Raises:
            ImageFileError: not one image can be decoded.
        """
        step, index, count, crop = key
        scale = self.degradation.scale
        epoch, place = divmod(step * count + index, len(self.pairs))
        hr, lr = self._images(int(self._order(epoch)[place]))
        rng = random_stream(self.seed, _CROP, step, index)
        side = crop * scale
        if lr is None:
            # Nothing is drawn for `shrink` 1, so that later numbers do not depend on this option.
            larger = self._shrinkage(rng, min(hr.shape[1:]) / side) if self.shrink > 1 else 1.0
            size = round(side * larger)
            angle = self._angle(rng, min(hr.shape[1:]) / size) if self.rotate and larger >= ROTATED else 0.0
            around = min(*hr.shape[1:], math.ceil(size * extent(angle)))
            top, left = self._place(rng, hr, around)
            if size > side:
                piece = hr[:, top : top + around, left : left + around]
                hr, top, left = shrunk(piece if angle == 0 else rotated(piece, angle, size), side), 0, 0
        else:
            top, left = self._place(rng, hr, side, scale)
        if lr is None and self.sharpen > 0:
            hr, top, left = sharpened(hr[:, top : top + side, left : left + side], rng, self.sharpen), 0, 0
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        if lr is None and self.colour > 0:
            hr, top, left = recoloured(hr[:, top : top + side, left : left + side], rng, self.colour), 0, 0

        def cut(image: Tensor, s: int) -> Tensor:
            size = side // s
            piece = image[:, top // s : top // s + size, left // s : left // s + size]
            if not self.augment:
                return piece
            piece = piece.rot90(turns, (1, 2))
            return piece.flip(2) if flip else piece

        return cut(hr, 1), None if lr is None else cut(lr, scale)

    def __getitems__(self, keys: list[Key]) -> Batch:
        """A whole batch, so that the crops are downscaled together."""
        crops = [self[key] for key in keys]
        hr = torch.stack([c[0] for c in crops])
        if crops[0][1] is None:
            lr = self.degradation.down_integers(hr).to(torch.uint8)
        else:
            lr = torch.stack([c[1] for c in crops if c[1] is not None])
        return {"hr": hr, "lr": lr, "step": torch.tensor(keys[0][0]), "first": torch.tensor(keys[0][1])}

    def _place(self, rng: np.random.Generator, image: Tensor, side: int, grid: int = 1) -> list[int]:
        """Top and left of a square of ``side`` pixels on the grid."""
        return [grid * int(rng.integers((n - side) // grid + 1)) for n in image.shape[1:]]

    def _shrinkage(self, rng: np.random.Generator, most: float) -> float:
        """1 with probability ½, else log-uniform up to `shrink` or the image's size."""
        if rng.integers(2) == 0:
            return 1.0
        return float(min(self.shrink, most) ** rng.random())

    def _angle(self, rng: np.random.Generator, room: float) -> float:
        """Radians up to an eighth of a turn (quarter turns come on top), 0 if the image is too small for it."""
        angle = float(rng.uniform(-math.pi / 4, math.pi / 4))
        return angle if extent(angle) <= room else 0.0

    def _permutation(self, epoch: int) -> Any:
        return random_stream(self.seed, _ORDER, epoch).permutation(len(self.pairs))

    def _images(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Image ``index``, or the next one that can be decoded. The result does not depend on earlier calls."""
        if self._cache is None:
            worker = get_worker_info()
            self._cache = ImageCache(self.memory // (worker.num_workers if worker else 1))
        error: ImageFileError | None = None
        for offset in range(len(self.pairs)):
            i = (index + offset) % len(self.pairs)
            if i in self._unreadable:
                continue
            pair = self.pairs[i]
            try:
                return self._cache.get(pair.hr), None if pair.lr is None else self._cache.get(pair.lr)
            except ImageFileError as problem:
                error = problem
                self._unreadable.add(i)
                warnings.warn(f"{problem}: another image takes its place", ImageFileWarning, stacklevel=2)
        raise ImageFileError("not one of the training images can be decoded" + (f": {error}" if error else ""))


class StepSampler(Sampler[list[Key]]):
    """The keys of the crops of each step from ``start`` on, for one of several processes.

    Args:
        schedule: for each step (batch of one process, LR pixels of a crop).
        start: first step.
        rank, world: this process, and how many there are: process r takes crops rB … rB + B − 1 of a step.
    """

    def __init__(self, schedule: Sequence[tuple[int, int]], start: int = 0, rank: int = 0, world: int = 1) -> None:
        self.schedule, self.start, self.rank, self.world = schedule, start, rank, world

    def __len__(self) -> int:
        return len(self.schedule) - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.start, len(self.schedule)):
            batch, crop = self.schedule[step]
            first = self.rank * batch
            yield [(step, first + i, batch * self.world, crop) for i in range(batch)]


def crop_loader(dataset: CropDataset, sampler: StepSampler, workers: int, pin_memory: bool) -> DataLoader[Any]:
    """Batches, one per step, in order."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_whole,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,  # libvips' threads do not survive a fork
        worker_init_fn=_end_with_parent,
    )


def _end_with_parent(_: int) -> None:
    """Let a worker process end as soon as its parent does, killed or not."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _whole(batch: Any) -> Any:
    """The data set makes whole batches itself."""
    return batch
