"""Perceptual distance of many samples from one truth: LPIPS (Zhang et al., CVPR 2018) and similar distances.

With f_l(x) the features of layer l of a network, of unit length at each place, and w_l weights of their channels,

    map(x, y) = Σ_l upsample( Σ_c w_lc (f_lc(x) − f_lc(y))² ),   distance(x, y) = Σ_l mean_places( … ).

The features of the truth are computed once. Of each sample only the map is kept and, for the mean distance of all pairs
of samples, one running sum: with e_i = f(x_i) − f(y), Σ_{i<j} |e_i − e_j|² = n Σ_i |e_i|² − |Σ_i e_i|². So the memory
for features does not depend on the number of samples, and the figures of a sample do not depend on the others.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.checks import check_integer, check_number, check_types, tensor_text
from vspsr.errors import size_text
from vspsr.metrics.images import check_pair

_EPS = 1e-10  # of the packages: added to the length of a feature vector


@dataclass(frozen=True)
class PerceptualScore:
    """What `Backend.score` returns.

    Attributes:
        maps: (n, H, W) float32, distance at each pixel, ≥ 0. The challenge takes their means.
        distances: (n,) float64, the packages' ``spatial=False``: the mean over each layer's own places. It differs
            from the map's mean by a few per mille, as upsampling gives places at the border another weight.
        pairwise: mean of ``distances`` between two different samples; None where not asked for.
    """

    maps: Tensor
    distances: Tensor
    pairwise: float | None = None


class Backend:
    """A perceptual distance. Lower is more alike; 0 for identical images; no upper bound (rarely above 1).

    Made by name by `perceptual_backend`, or from a module laid out as ``lpips.LPIPS`` is: ``net.slice1`` … one after
    the other, ``lin0`` … with the weights of their channels, ``scaling_layer``.

    Args:
        module: copied, not changed.
        name: e.g. "lpips-alex".
        version: package, version and digest of the weights, to be stated with every figure.
        device: where to compute. TF32 is kept off: it would change the third digit.
        min_size: least height and width of the images.

    Attributes:
        name, version: as given.
        range: the colour range that images are given in, and that the network sees.
    """

    range = "RGB in [0, 1], seen by the network as [-1, 1]"

    def __init__(
        self, module: nn.Module, name: str, version: str, device: str | torch.device = "cpu", min_size: int = 32
    ) -> None:
        check_types(name=(name, str), version=(version, str), device=(device, str | torch.device))
        self.name, self.version, self.device = name, version, torch.device(device)
        self.min_size = check_integer(min_size, "min_size", 1, 2**31)
        if getattr(module, "version", "0.1") != "0.1" or not getattr(module, "lpips", True):
            raise ValueError("`module` must be LPIPS v0.1 with linear layers: others scale their input otherwise")
        if not hasattr(module, "net") or not hasattr(module, "lin0"):
            raise ValueError("`module` must have `net`, lin0, lin1, … as lpips.LPIPS has")
        own = copy.deepcopy(module).float().eval().requires_grad_(False).to(self.device)
        own = own.to(memory_format=torch.channels_last)
        net = own.get_submodule("net")
        linear = [layer for name, layer in own.named_children() if re.fullmatch(r"lin\d+", name)]
        self._stages = [net.get_submodule(f"slice{i + 1}") for i in range(len(linear))]
        self._weights = [list(layer.parameters())[-1].reshape(-1) for layer in linear]
        scaling = own.get_submodule("scaling_layer")
        # 2x − 1, then (· − shift)/scale: one multiplication and one addition.
        self._scale = 2 / scaling.get_buffer("scale").reshape(1, 3, 1, 1)
        self._shift = (-1 - scaling.get_buffer("shift").reshape(1, 3, 1, 1)) * self._scale / 2

    def __repr__(self) -> str:
        return f"Backend({self.name!r}, {self.version!r})"

    @torch.no_grad()
    def score(self, samples: Tensor, truth: Tensor, pairwise: bool = False, peak: float = 1.0) -> PerceptualScore:
        """All distances, from one pass of the network per image.

        Args:
            samples: (n, 3, H, W) RGB in 0 … peak, floating point or integers; converted one at a time.
            truth: (3, H, W), likewise.
            pairwise: whether to compute the mean distance between samples as well (n ≥ 2).
            peak: 1 for [0, 1], 255 for 8-bit integers, 65535 for 16-bit.

        Returns:
            `PerceptualScore`, on the device of ``samples``.

        Raises:
            ValueError: shapes that do not fit, values out of range, fewer than two samples for ``pairwise``.
        """
        check_types(pairwise=(pairwise, bool))
        self._check(samples, truth, pairwise, peak)
        height, width = truth.shape[-2:]
        n = len(samples)
        maps = torch.empty(n, height, width, dtype=torch.float32, device=self.device)
        distances = torch.zeros(n, dtype=torch.float64, device=self.device)
        # Full single precision: no autocast, no TF32.
        flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        exact = flags if self.device.type == "cuda" else nullcontext()
        with torch.autocast(self.device.type, enabled=False), exact:
            references = [unit for unit, _ in self._features(truth, peak)]
            sums = [torch.zeros_like(r) for r in references] if pairwise else []
            for k, sample in enumerate(samples):
                layers: dict[tuple[int, int], Tensor] = {}  # layers of one size are added before they are upsampled
                for i, (unit, size) in enumerate(self._features(sample, peak)):
                    error = unit.sub_(references[i])
                    if pairwise:
                        sums[i].add_(error)
                    distance = error.square_() @ self._weights[i]
                    distances[k] += distance.mean(dtype=torch.float64)
                    layers[size] = layers[size] + distance if size in layers else distance
                maps[k] = _upsampled(layers, height, width)
            between = None
            if pairwise:
                cross = [(s.square_() @ w).mean(dtype=torch.float64) for s, w in zip(sums, self._weights, strict=True)]
                between = max(0.0, float(n * distances.sum() - torch.stack(cross).sum()) / (n * (n - 1) / 2))
        return PerceptualScore(maps.to(samples.device), distances.to(samples.device), between)

    def _features(self, image: Tensor, peak: float) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        """Unit features (places, channels) of an image (3, H, W), layer by layer, and the layer's size."""
        x = image[None].to(self.device, torch.float32, memory_format=torch.channels_last)
        x = torch.addcmul(self._shift, x, self._scale, value=1 / peak)
        for stage in self._stages:
            x = stage(x)
            places = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
            length = torch.linalg.vector_norm(places, dim=1, keepdim=True)
            yield places / length.add_(_EPS), (x.shape[2], x.shape[3])

    def _check(self, samples: Tensor, truth: Tensor, pairwise: bool, peak: float) -> None:
        for x, name, axes in ((samples, "samples", 4), (truth, "truth", 3)):
            check_types(**{name: (x, Tensor)})
            if x.ndim != axes or x.shape[-3] != 3 or not (x.is_floating_point() or check_number(peak, "peak") > 1):
                shape = "(n, 3, H, W)" if axes == 4 else "(3, H, W)"
                hint = "" if x.is_floating_point() else ": integers need their `peak`"
                raise ValueError(f"`{name}` must be RGB {shape}, got {tensor_text(x)}{hint}")
        check_pair(samples, truth, peak, ("samples", "truth"))
        if min(truth.shape[-2:]) < self.min_size:
            raise ValueError(
                f"`truth` must have at least {self.min_size}×{self.min_size} pixels for {self.name}, "
                f"got {size_text(truth.shape)}"
            )
        if pairwise and len(samples) < 2:
            raise ValueError(f"`samples` must be at least two for a distance between them, got {len(samples)}")


def _upsampled(layers: dict[tuple[int, int], Tensor], height: int, width: int) -> Tensor:
    """The sum of the layers' distances (places,), each upsampled bilinearly to the size of the image."""
    planes = [
        F.interpolate(d.reshape(1, 1, *size), size=(height, width), mode="bilinear", align_corners=False)
        for size, d in layers.items()
    ]
    return torch.stack(planes).sum(0)[0, 0] if len(planes) > 1 else planes[0][0, 0]
