"""Training crops in batches on the device that trains, a pure function of (seed, step, index).

Step t of B crops takes places tB … tB + B − 1 of an endless series: the images in a random order, then in another, and
so on, each once per pass. What else is random about a crop comes from a generator of its own, numpy's SFC64 seeded by
(seed, step, index), so that a resumed run, or one cut up over processes or into smaller batches, sees the same.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vspsr.data.augment import dihedral, recoloured, shrunk, unsharp_masked
from vspsr.data.photographs import Photographs
from vspsr.degradation import Degradation
from vspsr.degradation.jpeg import jpeg, quality_tables, quantisation_map

_ORDER, _CROP = 0, 1
_PARTS = 24  # crops made at once on a CPU: what is in between stays in its caches


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        hr: (B, 3, s·c, s·c) float32 in [0, 1].
        lr: (B, 3, c, c) float32 in [0, 1]: D of the HR crops, rounded to 8 bits; decoded JPEGs where that is asked for.
        quantisation: (B, 3, c, c), see `vspsr.degradation.jpeg.quantisation_map`; 0 for clean LR crops.
        coded: (B,) bool, which LR crops are decoded JPEGs; at quality 100 their quantisation may be 0, too.
        step: number of the step.
        first: index of the first crop in its step.
    """

    hr: Tensor
    lr: Tensor
    quantisation: Tensor
    coded: Tensor
    step: int
    first: int


@dataclass(frozen=True)
class Jpegs:
    """LR crops saved as JPEGs: a share of them, qualities from … to, kinds of subsampling (420, 444), equally often."""

    share: float
    quality: tuple[int, int]
    subsampling: tuple[int, ...]


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """A generator for (seed, key) alone."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


class Crops:
    """Random crops of photographs, with their LR images.

    Args:
        photographs: none smaller than a crop.
        degradation: D.
        seed: ≥ 0.
        lr: the LR images, in the same order; by default they are made from the HR crops. With them, HR crops lie on the
            grid of LR pixels, and of what follows only `turn` has an effect.
        turn: flips and quarter turns.
        shrink: ≥ 1. Every other crop, by chance, comes from its image made smaller by a factor between 1 and this,
            so that the same photos also show finer and sharper detail.
        sharpen: every other crop, by chance, gets an unsharp mask of up to this strength: 0 for none, 1 for plain ones.
        colour: strength of random changes of tone, white balance and saturation: 0 for none, 1 for plain ones.
        jpegs: LR crops that are JPEGs; None for clean ones only.
    """

    def __init__(
        self,
        photographs: Photographs,
        degradation: Degradation,
        seed: int,
        lr: Photographs | None = None,
        turn: bool = True,
        shrink: float = 1.0,
        sharpen: float = 0.0,
        colour: float = 0.0,
        jpegs: Jpegs | None = None,
    ) -> None:
        self.photographs, self.degradation, self.seed, self.lr = photographs, degradation, seed, lr
        self.turn, self.shrink, self.sharpen, self.colour, self.jpegs = turn, shrink, sharpen, colour, jpegs
        self._order = lru_cache(maxsize=2)(
            lambda epoch: random_stream(seed, _ORDER, epoch).permutation(len(photographs))
        )

    def batch(self, step: int, first: int, size: int, whole: int, crop: int) -> Batch:
        """Crops ``first`` … ``first + size − 1`` of a step of ``whole`` crops, of crop×crop LR pixels each."""
        device = self.photographs.device
        part = _PARTS if device.type == "cpu" else size
        parts = [
            self._part(step, i, min(part, first + size - i), whole, crop) for i in range(first, first + size, part)
        ]
        hr, lr, quantisation, coded = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return Batch(hr, lr, quantisation, coded, step, first)

    def _part(self, step: int, first: int, size: int, whole: int, crop: int) -> tuple[Tensor, ...]:
        index = torch.from_numpy(self._images(step * whole + first, size))
        streams = [random_stream(self.seed, _CROP, step, i) for i in range(first, first + size)]
        numbers = torch.from_numpy(np.stack([np.append(rng.random(12), rng.normal(size=4)) for rng in streams]))
        (if_shrunk, shrinking), place, rest = numbers[:, :2].unbind(1), numbers[:, 2:4], numbers[:, 4:]
        sizes = self.photographs.sizes[index].double()
        side = crop * self.degradation.scale
        if self.lr is None:
            room = sizes.amin(1) / side
            factor = torch.where(if_shrunk < 0.5, 1.0, room.clamp_max(self.shrink) ** shrinking)
            grid = 1
        else:
            factor, grid = torch.ones(size, dtype=torch.float64), self.degradation.scale
        corner = grid * (place * (((sizes - (side * factor).ceil()[:, None]) / grid).floor() + 1)).floor()
        # One transfer; nothing is read back.
        known = torch.cat([index[:, None].double(), corner, factor[:, None], rest], 1).float()
        if self.photographs.device.type == "cuda":
            known = known.pin_memory()
        known = known.to(self.photographs.device, non_blocking=True)
        if self.lr is None:
            return self._from_photographs(known, side)
        return self._from_pairs(known, side, self.lr)

    def _from_pairs(self, known: Tensor, side: int, lr: Photographs) -> tuple[Tensor, ...]:
        index, top, left = known[:, :3].long().unbind(1)
        turn = (8 * known[:, 4]).long() if self.turn else torch.zeros_like(index)
        scale = self.degradation.scale
        hr = dihedral(self.photographs.windows(index, top, left, side).float(), turn)
        small = dihedral(lr.windows(index, top // scale, left // scale, side // scale).float(), turn)
        return hr / 255, small / 255, torch.zeros_like(small), torch.zeros_like(index, dtype=torch.bool)

    def _from_photographs(self, known: Tensor, side: int) -> tuple[Tensor, ...]:
        index, top, left = known[:, :3].long().unbind(1)
        factor, turn, if_sharpened, blur, strength, saturation, quality, kind, share = known[:, 3:12].unbind(1)
        normals = known[:, 12:]
        source = side if self.shrink == 1 else int(side * self.shrink) + 1
        hr = self.photographs.windows(index, top, left, source).float()
        if self.shrink > 1:
            hr = _rounded(shrunk(hr, factor, side))
        if self.sharpen > 0:
            strength = torch.where(if_sharpened < 0.5, 0.0, self.sharpen * strength)
            hr = _rounded(unsharp_masked(hr, 0.6 * 2.5**blur, strength))
        if self.colour > 0:
            z = self.colour * normals
            saturation = 1 + self.colour * (0.7 * saturation - 0.4)
            hr = _rounded(recoloured(hr, (0.2 * z[:, 0]).exp(), (0.06 * z[:, 1:]).exp(), saturation.clamp_min(0)))
        if self.turn:
            hr = dihedral(hr, (8 * turn).long())
        lr = self.degradation.down_integers(hr).float()
        if self.jpegs is None:
            return hr / 255, lr / 255, torch.zeros_like(lr), torch.zeros_like(index, dtype=torch.bool)
        low, high = sorted(self.jpegs.quality)
        tables = quality_tables((low + (high - low) * quality).round())
        kinds = self.jpegs.subsampling
        subsampled = kind < kinds.count(420) / len(kinds)
        coded = share < self.jpegs.share
        seen = torch.where(coded[:, None, None, None], jpeg(lr, tables, subsampled), lr)
        quantisation = quantisation_map(tables, subsampled, *lr.shape[-2:])
        return hr / 255, seen / 255, torch.where(coded[:, None, None, None], quantisation, 0.0), coded

    def _images(self, place: int, size: int) -> NDArray[np.int64]:
        """Which images the places of the endless series are."""
        n = len(self.photographs)
        return np.array([self._order(p // n)[p % n] for p in range(place, place + size)], np.int64)


def _rounded(image: Tensor) -> Tensor:
    return image.round_().clamp_(0, 255)
