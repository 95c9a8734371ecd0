"""What the tests of the evaluation share: small image sets on disk, and a perceptual distance that costs nothing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vspsr import read_image, write_image
from vspsr.images.picture import Picture
from vspsr.metrics import PerceptualScore

EXAMPLE = Path(__file__).parents[2] / "examples" / "cat.png"


class AbsoluteDifference:
    """Stands in for a perceptual network: mean absolute difference at each pixel, over channels."""

    name, version, range, min_size = "stlpips-alex", "stand-in", "RGB in [0, 1]", 32

    def score(self, samples: Tensor, truth: Tensor, pairwise: bool = False, peak: float = 1.0) -> PerceptualScore:
        samples, truth = samples.float() / peak, truth.float() / peak
        maps = (samples - truth).abs().mean(1)
        pairs = [(a - b).abs().mean() for i, a in enumerate(samples) for b in samples[:i]]
        between = float(torch.stack(pairs).mean()) if pairwise else None
        return PerceptualScore(maps, maps.double().mean((1, 2)), between)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate with `AbsoluteDifference`: for tests that are about something else than perceptual distances."""
    monkeypatch.setattr("vspsr.evaluation.scoring.perceptual_backend", lambda _name, _device: AbsoluteDifference())


def photo(height: int, width: int, top: int = 0, left: int = 0) -> Tensor:
    """A part of the example photo: (3, H, W) int32."""
    return read_image(EXAMPLE).pixels[:3, top : top + height, left : left + width]


def save(path: Path, pixels: Tensor, bits: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Picture(pixels.contiguous(), bits), overwrite=True)
    return path


def noisy(pixels: Tensor, seed: int, levels: int = 6, white: int = 255) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(-levels, levels + 1, pixels.shape, generator=generator, dtype=torch.int32)
    return (pixels + noise).clamp(0, white)


def image_set(folder: Path, n_samples: int = 2, sizes: dict[str, tuple[int, int]] | None = None) -> Path:
    """A set of HR images and samples of them, in folder/hr and folder/sr; returns the folder."""
    for i, (stem, (height, width)) in enumerate((sizes or {"a": (64, 48), "b": (40, 72), "c": (56, 56)}).items()):
        hr = photo(height, width, top=4 * i, left=5 * i)
        save(folder / "hr" / f"{stem}.png", hr)
        for k in range(n_samples):
            save(folder / "sr" / f"{stem}_s{k:02d}.png", noisy(hr, 10 * i + k, 4 + 2 * k))
    return folder
