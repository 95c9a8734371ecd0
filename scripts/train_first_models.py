"""Train the first shipped models: one file, one machine, energy score on pixel patches, then on deep features.

    python scripts/train_first_models.py --scale 4 --data DIR --features squeezenet1_1.safetensors --out runs/x4

DIR holds HR photographs; with a manifest.csv (columns `file`, `split`) only rows with split "train" are used. The run
is checkpointed every few minutes and goes on where it stopped when it is started again with the same --out.
"""

import argparse
import csv
import json
import random
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from vspsr.degradation import Degradation
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.nn.parameters import SpaceParameters, synthesize
from vspsr.training.energy import energy_score, feature_distance, patch_distance
from vspsr.training.features import SqueezeNetFeatures

PRESETS = {
    4: {"network": {"scale": 4, "n_atoms": 64, "channels": 48, "blocks": 8, "n_modes": 4}, "crop": 32},
    8: {"network": {"scale": 8, "n_atoms": 96, "channels": 64, "blocks": 8, "n_modes": 2}, "crop": 20},
}


def load_images(folder: Path) -> list[Tensor]:
    manifest = folder / "manifest.csv"
    if manifest.exists():
        with manifest.open(newline="") as f:
            files = [folder / row["file"] for row in csv.DictReader(f) if row["split"] == "train"]
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".png", ".webp", ".jpg", ".tif"})
    if not files:
        raise SystemExit(f"--data {folder}: no images found")
    return [torch.from_numpy(np.array(Image.open(f).convert("RGB"))).permute(2, 0, 1) for f in files]


def batch(images: list[Tensor], size: int, crop: int, rng: random.Random) -> Tensor:
    """(size, 3, crop, crop) uint8 crops, flipped and turned at random."""
    crops = []
    for _ in range(size):
        image = rng.choice(images)
        top, left = rng.randrange(image.shape[1] - crop + 1), rng.randrange(image.shape[2] - crop + 1)
        piece = image[:, top : top + crop, left : left + crop].rot90(rng.randrange(4), (1, 2))
        crops.append(piece.flip(2) if rng.random() < 0.5 else piece)
    return torch.stack(crops)


def two_samples(p: SpaceParameters, y: Tensor, degradation: Degradation) -> tuple[Tensor, Tensor, Tensor]:
    """The mean and two samples of the space, projected onto consistency."""
    scale = degradation.scale
    sigma = (0.5 * p.coefficient_log_var).exp()
    fields = [p.deterministic]
    fields += [p.deterministic + synthesize(sigma * torch.randn_like(sigma), p.atoms, scale) for _ in range(2)]
    images = torch.cat(fields)
    images = images + degradation.pseudo_inverse(y.repeat(3, 1, 1, 1) - degradation.down(images))
    mean, first, second = images.chunk(3)
    return mean, first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, choices=(4, 8), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--feature-weight", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)

    preset = PRESETS[args.scale]
    network = OverlappingVSpM(**preset["network"]).to(memory_format=torch.channels_last)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimiser = torch.optim.Adam(network.parameters(), lr=args.lr, betas=(0.9, 0.99))
    features = SqueezeNetFeatures(args.features).to(memory_format=torch.channels_last)
    degradation = Degradation(args.scale)
    crop = preset["crop"] * args.scale
    images = load_images(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint, step, elapsed = args.out / "checkpoint.pt", 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        average, step, elapsed = saved["average"], saved["step"], saved["elapsed"]
        rng.seed(f"{args.seed}/{step}")
        torch.manual_seed(args.seed + step)

    def save() -> None:
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "average": average}
        temporary = checkpoint.with_suffix(".tmp")
        torch.save({**state, "step": step, "elapsed": elapsed}, temporary)
        temporary.replace(checkpoint)
        save_file({k: v.contiguous() for k, v in average.items()}, args.out / "average.safetensors")
        (args.out / "preset.json").write_text(json.dumps(preset["network"], indent=2))

    last, saved_at, log = time.monotonic(), elapsed, []
    total = 60 * args.minutes
    while elapsed < total:
        done = elapsed / total
        rate = args.lr * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        integers = batch(images, args.batch, crop, rng)
        x = integers.float().div(255).contiguous(memory_format=torch.channels_last)
        y = degradation.down_integers(integers).float().div(255).contiguous(memory_format=torch.channels_last)
        mean, first, second = two_samples(network(y), y, degradation)
        offset = (rng.randrange(8), rng.randrange(8))
        on_mean = (mean - x).abs().mean()
        distance = partial(patch_distance, size=8, offset=offset)
        on_pixels = energy_score(x, first, second, distance)
        loss = on_mean + on_pixels
        on_features = torch.zeros(())
        if done >= 0.3:
            fx, fs = features(x), features(torch.cat([first, second]))
            f1, f2 = [f[: args.batch] for f in fs], [f[args.batch :] for f in fs]
            distances = [feature_distance(fx, f1), feature_distance(fx, f2), feature_distance(f1, f2)]
            on_features = 0.5 * (distances[0] + distances[1]) - 0.5 * distances[2]
            loss = loss + args.feature_weight * on_features
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        if not torch.isfinite(norm):
            raise SystemExit(f"step {step}: the gradient is not finite; resume from {checkpoint}")
        optimiser.step()
        step += 1
        decay = min(0.999, (step + 1) / (step + 10))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        log.append([on_mean.item(), on_pixels.item(), on_features.item(), norm.item()])
        now = time.monotonic()
        elapsed, last = elapsed + now - last, now
        if step % 50 == 0:
            a, b, c, d = np.mean(log, 0)
            print(f"{step} {elapsed:.0f}s mean {a:.4f} pixels {b:.4f} features {c:.4f} norm {d:.2f}", flush=True)
            log.clear()
        if elapsed - saved_at > 180 or elapsed >= total:
            save()
            saved_at = elapsed


if __name__ == "__main__":
    main()
