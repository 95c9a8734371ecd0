"""Seeded checkpoints with the keys and shapes of each published release, and what its network computes with them.

Written from the papers and the releases' key names, with nothing of vspsr: each `expected` is a chain of convolutions
on the published keys.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

State = dict[str, torch.Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None]


@dataclass
class Release:
    """What one release publishes, and its network: y (1, 3, h, w) in [0, 1] → HR image, not clipped."""

    baseline: str
    scale: int
    expected: Callable[[torch.Tensor], torch.Tensor]
    state: State

    def soften(self, factor: float) -> None:
        """Scale the weights of the last convolution, the one that makes the colours."""
        self.state[[k for k, v in self.state.items() if k.endswith("weight") and len(v) == 3][-1]] *= factor


class Maker:
    """Random layers under given keys."""

    def __init__(self, seed: int = 0) -> None:
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(seed)

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator)

    def conv(self, key: str, out: int, into: int, kernel: int = 3, bias: bool = True) -> None:
        self.state[f"{key}.weight"] = self.random(out, into, kernel, kernel) / (into * kernel**2) ** 0.5
        if bias:
            self.state[f"{key}.bias"] = 0.1 * self.random(out)

    def norm(self, key: str, width: int) -> None:
        self.state |= {f"{key}.weight": 1 + 0.1 * self.random(width), f"{key}.bias": 0.1 * self.random(width)}
        self.state |= {f"{key}.running_mean": self.random(width), f"{key}.running_var": 1 + self.random(width) ** 2}
        self.state[f"{key}.num_batches_tracked"] = torch.tensor(7)

    def prelu(self, key: str) -> None:
        self.state[f"{key}.weight"] = torch.tensor([0.2])

    def c(self, key: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.state[f"{key}.weight"]
        return F.conv2d(x, weight, self.state.get(f"{key}.bias"), padding=weight.shape[-1] // 2)

    def n(self, key: str, x: torch.Tensor) -> torch.Tensor:
        parameters = (
            self.state[f"{key}.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
        )
        mean, var, weight, bias = parameters
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def p(self, key: str, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, self.state[f"{key}.weight"] * x)


def edsr_pytorch(scale: int = 4, width: int = 64, depth: int = 16, value_range: float = 255.0) -> Release:
    """sanghyun-son/EDSR-PyTorch (once thstkdgus35/EDSR-PyTorch), src/model/edsr.py; torchSR has the same keys."""
    m = Maker()
    for key, sign in (("sub_mean", -1), ("add_mean", 1)):
        m.state[f"{key}.weight"] = torch.eye(3)[:, :, None, None]
        m.state[f"{key}.bias"] = sign * value_range * MEAN.flatten()
    m.conv("head.0", width, 3)
    for n in range(depth):
        m.conv(f"body.{n}.body.0", width, width)
        m.conv(f"body.{n}.body.2", width, width)
    m.conv(f"body.{depth}", width, width)
    stages = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]
    for k, factor in enumerate(stages):
        m.conv(f"tail.0.{2 * k}", width * factor**2, width)
    m.conv("tail.1", 3, width)

    def expected(y: torch.Tensor) -> torch.Tensor:
        x = head = m.c("head.0", value_range * (y - MEAN))
        for n in range(depth):
            residual = m.c(f"body.{n}.body.2", m.c(f"body.{n}.body.0", x).relu())
            x = x + (0.1 if width == 256 else 1.0) * residual
        x = head + m.c(f"body.{depth}", x)
        for k, factor in enumerate(stages):
            x = F.pixel_shuffle(m.c(f"tail.0.{2 * k}", x), factor)
        return m.c("tail.1", x) / value_range + MEAN

    return Release("edsr", scale, expected, m.state)


def edsr_other(openmmlab: bool, width: int = 8, depth: int = 3) -> Release:
    """BasicSR's edsr_arch.py (values 0 … 255) and OpenMMLab's edsr_net.py (0 … 1), whose checkpoints hold no mean."""
    m, value_range = Maker(), 1.0 if openmmlab else 255.0
    upsample = [f"upsample.{k}.upsample_conv" for k in (0, 1)] if openmmlab else ["upsample.0", "upsample.2"]
    m.conv("conv_first", width, 3)
    for n in range(depth):
        m.conv(f"body.{n}.conv1", width, width)
        m.conv(f"body.{n}.conv2", width, width)
    m.conv("conv_after_body", width, width)
    for key in upsample:
        m.conv(key, 4 * width, width)
    m.conv("conv_last", 3, width)

    def expected(y: torch.Tensor) -> torch.Tensor:
        x = head = m.c("conv_first", value_range * (y - MEAN))
        for n in range(depth):
            x = x + m.c(f"body.{n}.conv2", m.c(f"body.{n}.conv1", x).relu())
        x = head + m.c("conv_after_body", x)
        for key in upsample:
            x = F.pixel_shuffle(m.c(key, x), 2)
        return m.c("conv_last", x) / value_range + MEAN

    return Release("edsr", 4, expected, m.state)


def msrresnet(release: str, scale: int = 4, width: int = 8, depth: int = 3) -> Release:
    """MSRResNet of BasicSR (srresnet_arch.py), KAIR (network_msrresnet.py, MSRResNet1), OpenMMLab (sr_resnet.py)."""
    m = Maker()
    blocks = {"basicsr": "body", "kair": "recon_trunk", "openmmlab": "trunk_net"}[release]
    upsample = "upsample{}.upsample_conv" if release == "openmmlab" else "upconv{}"
    hr = "HRconv" if release == "kair" else "conv_hr"
    stages = [2, 2] if scale == 4 else [scale]
    m.conv("conv_first", width, 3)
    for n in range(depth):
        m.conv(f"{blocks}.{n}.conv1", width, width)
        m.conv(f"{blocks}.{n}.conv2", width, width)
    for k, factor in enumerate(stages, 1):
        m.conv(upsample.format(k), width * factor**2, width)
    m.conv(hr, width, width)
    m.conv("conv_last", 3, width)

    def expected(y: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(m.c("conv_first", y), 0.1)
        for n in range(depth):
            x = x + m.c(f"{blocks}.{n}.conv2", m.c(f"{blocks}.{n}.conv1", x).relu())
        for k, factor in enumerate(stages, 1):
            x = F.pixel_shuffle(m.c(upsample.format(k), x), factor)
            x = x if release == "openmmlab" else F.leaky_relu(x, 0.1)
        size = (scale * y.shape[-2], scale * y.shape[-1])
        base = F.interpolate(y, size, mode="bilinear", align_corners=False)
        return m.c("conv_last", F.leaky_relu(m.c(hr, x), 0.1)) + base

    return Release("srgan", scale, expected, m.state)


def lornatang(conv: str, scale: int = 4, width: int = 8, depth: int = 3) -> Release:
    """Lornatang/SRGAN-PyTorch, model.py: layers named conv_block1 … 3 in early 2022, conv1 … 3 since."""
    m, stages = Maker(), {2: 1, 4: 2, 8: 3}[scale]
    m.conv(f"{conv}1.0", width, 3, 9)
    m.prelu(f"{conv}1.1")
    for n in range(depth):
        for i in (0, 3):
            m.conv(f"trunk.{n}.rcb.{i}", width, width, bias=False)
            m.norm(f"trunk.{n}.rcb.{i + 1}", width)
        m.prelu(f"trunk.{n}.rcb.2")
    m.conv(f"{conv}2.0", width, width, bias=False)
    m.norm(f"{conv}2.1", width)
    for k in range(stages):
        m.conv(f"upsampling.{k}.upsample_block.0", 4 * width, width)
        m.prelu(f"upsampling.{k}.upsample_block.2")
    m.conv(f"{conv}3", 3, width, 9)

    def expected(y: torch.Tensor) -> torch.Tensor:
        x = head = m.p(f"{conv}1.1", m.c(f"{conv}1.0", y))
        for n in range(depth):
            b = f"trunk.{n}.rcb"
            x = x + m.n(f"{b}.4", m.c(f"{b}.3", m.p(f"{b}.2", m.n(f"{b}.1", m.c(f"{b}.0", x)))))
        x = head + m.n(f"{conv}2.1", m.c(f"{conv}2.0", x))
        for k in range(stages):
            b = f"upsampling.{k}.upsample_block"
            x = m.p(f"{b}.2", F.pixel_shuffle(m.c(f"{b}.0", x), 2))
        return m.c(f"{conv}3", x)

    return Release("srgan", scale, expected, m.state)


def leftthomas(width: int = 8, depth: int = 5) -> Release:
    """leftthomas/SRGAN, model.py: blocks 1 … 8, tanh at the end."""
    m = Maker()
    m.conv("block1.0", width, 3, 9)
    m.prelu("block1.1")
    for n in range(2, depth + 2):
        for i in (1, 2):
            m.conv(f"block{n}.conv{i}", width, width)
            m.norm(f"block{n}.bn{i}", width)
        m.prelu(f"block{n}.prelu")
    m.conv("block7.0", width, width)
    m.norm("block7.1", width)
    for k in (0, 1):
        m.conv(f"block8.{k}.conv", 4 * width, width)
        m.prelu(f"block8.{k}.prelu")
    m.conv("block8.2", 3, width, 9)

    def expected(y: torch.Tensor) -> torch.Tensor:
        x = head = m.p("block1.1", m.c("block1.0", y))
        for b in (f"block{n}" for n in range(2, depth + 2)):
            inner = m.p(f"{b}.prelu", m.n(f"{b}.bn1", m.c(f"{b}.conv1", x)))
            x = x + m.n(f"{b}.bn2", m.c(f"{b}.conv2", inner))
        x = head + m.n("block7.1", m.c("block7.0", x))
        for k in (0, 1):
            x = m.p(f"block8.{k}.prelu", F.pixel_shuffle(m.c(f"block8.{k}.conv", x), 2))
        return (m.c("block8.2", x).tanh() + 1) / 2

    return Release("srgan", 4, expected, m.state)


def rcan(basicsr: bool, groups: int = 2, blocks: int = 3, width: int = 32, value_range: float = 255.0) -> Release:
    """yulunzhang/RCAN (and torchSR), rcan.py; BasicSR's rcan_arch.py, whose checkpoints hold no mean."""
    m = Maker()
    rcab = "body.{}.residual_group.{}.rcab" if basicsr else "body.{}.body.{}.body"
    squeeze, excite = ("3.attention.1", "3.attention.3") if basicsr else ("3.conv_du.0", "3.conv_du.2")
    first, last = ("conv_first", "conv_last") if basicsr else ("head.0", "tail.1")
    trunk_end = "conv_after_body" if basicsr else f"body.{groups}"
    group_end = "body.{}.conv" if basicsr else f"body.{{}}.body.{blocks}"
    upsample = ("upsample.0", "upsample.2") if basicsr else ("tail.0.0", "tail.0.2")
    if not basicsr:
        for key, sign in (("sub_mean", -1), ("add_mean", 1)):
            m.state[f"{key}.weight"] = torch.eye(3)[:, :, None, None]
            m.state[f"{key}.bias"] = sign * value_range * MEAN.flatten()
    m.conv(first, width, 3)
    for g in range(groups):
        for b in range(blocks):
            m.conv(f"{rcab.format(g, b)}.0", width, width)
            m.conv(f"{rcab.format(g, b)}.2", width, width)
            m.conv(f"{rcab.format(g, b)}.{squeeze}", width // 16, width, 1)
            m.conv(f"{rcab.format(g, b)}.{excite}", width, width // 16, 1)
        m.conv(group_end.format(g), width, width)
    m.conv(trunk_end, width, width)
    for key in upsample:
        m.conv(key, 4 * width, width)
    m.conv(last, 3, width)

    def expected(y: torch.Tensor) -> torch.Tensor:
        x = head = m.c(first, value_range * (y - MEAN))
        for g in range(groups):
            start = x
            for b in range(blocks):
                k = rcab.format(g, b)
                r = m.c(f"{k}.2", m.c(f"{k}.0", x).relu())
                gate = m.c(f"{k}.{excite}", m.c(f"{k}.{squeeze}", r.mean((-2, -1), keepdim=True)).relu())
                x = x + r * gate.sigmoid()
            x = start + m.c(group_end.format(g), x)
        x = head + m.c(trunk_end, x)
        for key in upsample:
            x = F.pixel_shuffle(m.c(key, x), 2)
        return m.c(last, x) / value_range + MEAN

    return Release("rcan", 4, expected, m.state)


_ESRGAN = {
    "old": "model.0 model.1.sub.{}.RDB{}.conv{}.0 model.1.sub.{depth} model.3 model.6 model.8 model.10",
    "new": "conv_first RRDB_trunk.{}.RDB{}.conv{} trunk_conv upconv1 upconv2 HRconv conv_last",
    "basicsr": "conv_first body.{}.rdb{}.conv{} conv_body conv_up1 conv_up2 conv_hr conv_last",
}
"""Keys of the first release of xinntao/ESRGAN, of its second, and of BasicSR and OpenMMLab."""


def esrgan(layout: str, depth: int = 2, width: int = 16, growth: int = 32) -> Release:
    """RRDBNet: Wang et al. 2018, figure 4."""
    m = Maker()
    first, dense, trunk_end, up1, up2, hr, last = (k.replace("{depth}", str(depth)) for k in _ESRGAN[layout].split())
    m.conv(first, width, 3)
    for n in range(depth):
        for d in (1, 2, 3):
            for c in range(1, 6):
                m.conv(dense.format(n, d, c), growth if c < 5 else width, width + (c - 1) * growth)
    for key in (trunk_end, up1, up2, hr):
        m.conv(key, width, width)
    m.conv(last, 3, width)

    def dense_block(x: torch.Tensor, n: int, d: int) -> torch.Tensor:
        features = [x]
        for c in range(1, 5):
            features.append(F.leaky_relu(m.c(dense.format(n, d, c), torch.cat(features, 1)), 0.2))
        return x + 0.2 * m.c(dense.format(n, d, 5), torch.cat(features, 1))

    def expected(y: torch.Tensor) -> torch.Tensor:
        x = head = m.c(first, y)
        for n in range(depth):
            start = x
            for d in (1, 2, 3):
                x = dense_block(x, n, d)
            x = start + 0.2 * x
        x = head + m.c(trunk_end, x)
        for key in (up1, up2):
            x = F.leaky_relu(m.c(key, x.repeat_interleave(2, -2).repeat_interleave(2, -1)), 0.2)
        return m.c(last, F.leaky_relu(m.c(hr, x), 0.2))

    return Release("esrgan", 4, expected, m.state)


RELEASES: dict[str, Callable[[], Release]] = {
    "edsr-baseline-x4": edsr_pytorch,
    "edsr-x3-wide": lambda: edsr_pytorch(3, 256, 2),
    "edsr-x8": lambda: edsr_pytorch(8, 8, 2),
    "edsr-range-1": lambda: edsr_pytorch(2, 8, 2, 1.0),
    "edsr-basicsr": lambda: edsr_other(openmmlab=False),
    "edsr-openmmlab": lambda: edsr_other(openmmlab=True),
    "srgan-basicsr": lambda: msrresnet("basicsr"),
    "srgan-basicsr-x3": lambda: msrresnet("basicsr", 3),
    "srgan-kair": lambda: msrresnet("kair"),
    "srgan-openmmlab": lambda: msrresnet("openmmlab", 4, 64, 16),
    "srgan-lornatang": lambda: lornatang("conv"),
    "srgan-lornatang-x8": lambda: lornatang("conv", 8),
    "srgan-lornatang-full": lambda: lornatang("conv_block", 4, 64, 16),
    "srgan-leftthomas": leftthomas,
    "rcan": lambda: rcan(basicsr=False),
    "rcan-range-1": lambda: rcan(basicsr=False, value_range=1.0),
    "rcan-basicsr": lambda: rcan(basicsr=True),
    "esrgan-old": lambda: esrgan("old"),
    "esrgan-new": lambda: esrgan("new"),
    "esrgan-basicsr": lambda: esrgan("basicsr"),
}
