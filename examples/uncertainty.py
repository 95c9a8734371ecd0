"""What is certain and what is invented: the uncertainty map of a photo, next to the picture.

python examples/uncertainty.py [OUT]
"""

import sys
from pathlib import Path

import numpy as np
import torch

from vspsr import upscale, write_image
from vspsr.images.picture import Picture
from vspsr.images.sheets import stddev_map

out = Path(sys.argv[1] if len(sys.argv) > 1 else "vspsr-examples")
out.mkdir(parents=True, exist_ok=True)

result = upscale(Path(__file__).with_name("cat.png"), model="vspsr-x4", samples=0)
picture, uncertainty = result.mean, stddev_map(result.stddev)  # the map has its scale beside it

height = max(picture.size[0], uncertainty.size[0])
planes = [torch.nn.functional.pad(p.pixels, (0, 8, 0, height - p.size[0])) for p in (picture, uncertainty)]
write_image(out / "uncertainty.png", Picture(torch.cat(planes, -1)), overwrite=True)
np.save(out / "stddev.npy", result.stddev.numpy())  # (3, H, W), 1 = the full range

levels = 255 * result.stddev.square().mean(0).sqrt()
print(f"standard deviation: median {float(levels.median()):.1f} levels, largest {float(levels.max()):.1f}")
print(f"pixels known to within 2 levels: {100 * float((levels < 2).float().mean()):.0f} %")
