"""Any SR network made consistent: its result then downscales to the LR image, in numbers and as a file.

python examples/any_network.py [OUT]
"""

import sys
from pathlib import Path

import torch

from vspsr import Consistent, Degradation, quantize, read_image, write_image
from vspsr.images.picture import Picture

out = Path(sys.argv[1] if len(sys.argv) > 1 else "vspsr-examples")
out.mkdir(parents=True, exist_ok=True)

# Put your own network here: anything that maps (B, 3, h, w) to (B, 3, 4h, 4w).
network = torch.nn.Upsample(scale_factor=4, mode="bilinear")
degradation = Degradation(4)  # MATLAB's bicubic
consistent = Consistent(network, degradation)  # differentiable: can be trained through

y = read_image(Path(__file__).with_name("cat.png")).to_float()
with torch.no_grad():
    plain, x = network(y), consistent(y)


def worst(image: torch.Tensor) -> float:
    return 255 * float((degradation.down(image) - y).abs().max())


print(f"the network alone misses LR values by up to {worst(plain):.2f} of 255 levels")
print(f"projected: by up to {worst(x):.5f}")

result = quantize(x, y, degradation)
print(f"as 8-bit integers: {int(result.lr_values_wrong)} LR values wrong")
write_image(out / "plain.png", Picture((255 * plain[0]).round().clamp(0, 255).int()), overwrite=True)
write_image(out / "consistent.png", Picture(result.image[0].int()), overwrite=True)
print(f"vspsr check {out / 'consistent.png'} examples/cat.png")
