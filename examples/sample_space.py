"""The super-resolution space of a photo: samples, mean, standard deviation, and a walk between two samples.

python examples/sample_space.py [OUT]
"""

import sys
from pathlib import Path

import torch

from vspsr import VSpSR, quantize, read_image, write_image
from vspsr.images.picture import Picture

out = Path(sys.argv[1] if len(sys.argv) > 1 else "vspsr-examples")
out.mkdir(parents=True, exist_ok=True)

model = VSpSR.from_pretrained("vspsr-x4")  # inside the package: no network needed
lr = read_image(Path(__file__).with_name("cat.png"))
y = lr.to_float()  # (1, 3, h, w) in [0, 1]

with torch.no_grad():
    space = model(y)  # the only pass of the network

print(space)
samples = space.sample(4, seed=0)  # (4, 1, 3, 4h, 4w); sample 2 is the same image however many are drawn
walk = [space.interpolate(0, 1, t) for t in (0, 0.25, 0.5, 0.75, 1)]  # from seed 0 to seed 1
print(f"mean standard deviation: {255 * float(space.stddev.mean()):.2f} of 255 levels")
print(f"spread of four samples:  {255 * float(samples.std(0).mean()):.2f} of 255 levels")

images = {f"sample{i}": x for i, x in enumerate(samples)}
images |= {"mean": space.mean} | {f"walk{i}": x for i, x in enumerate(walk)}
for name, x in images.items():
    result = quantize(x, y)  # to 8 bits, so that the file downscales to cat.png bit for bit
    print(f"{name}: {int(result.lr_values_wrong)} LR values wrong")
    write_image(out / f"{name}.png", Picture(result.image[0].int()), overwrite=True)
