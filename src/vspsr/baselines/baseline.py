"""The baselines of the field behind one interface: an LR image in, an HR image out, by name or from a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vspsr.baselines.layouts import build, layout_of
from vspsr.baselines.weights import PublishedWeights, published_weights, weights_folder
from vspsr.checks import check_rgb
from vspsr.consistency.projection import Consistent
from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import imresize
from vspsr.errors import ModelError
from vspsr.files import kind_of, one_line, sha256_of
from vspsr.nn.pretrained import pretrained_from_state
from vspsr.state_dicts import read_state


@dataclass(frozen=True)
class BaselineInfo:
    """One baseline.

    Attributes:
        name: what `load_baseline` takes.
        title: in full.
        paper: where it comes from.
        needs_weights: whether a checkpoint is needed.
    """

    name: str
    title: str
    paper: str
    needs_weights: bool = True

    def weights(self) -> dict[int, str]:
        """Scale → the name of the published weights taken by default."""
        own = [w for w in published_weights().values() if w.architecture == self.name]
        return {w.scale: w.name for w in reversed(own)}


BASELINES = {
    info.name: info
    for info in (
        BaselineInfo("bicubic", "Bicubic interpolation", "Keys 1981; MATLAB's imresize", needs_weights=False),
        BaselineInfo("edsr", "EDSR", "Lim et al., CVPR workshops 2017, arXiv:1707.02921"),
        BaselineInfo("rcan", "RCAN", "Zhang et al., ECCV 2018, arXiv:1807.02758"),
        BaselineInfo("srgan", "SRGAN", "Ledig et al., CVPR 2017, arXiv:1609.04802"),
        BaselineInfo("esrgan", "ESRGAN", "Wang et al., ECCV workshops 2018, arXiv:1809.00219"),
    )
}


class Bicubic(nn.Module):
    """MATLAB's `imresize`. Shapes: (B, 3, h, w) → (B, 3, s·h, s·w)."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, y: Tensor) -> Tensor:
        """See the class."""
        return imresize(y, scale=self.scale)


class _InRange(nn.Module):
    """A network whose output is clipped to [0, 1], computed in the precision of its weights."""

    def __init__(self, network: nn.Module, scale: int) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, y: Tensor) -> Tensor:
        weight = next(self.network.parameters(), y)
        x: Tensor = self.network(y.to(weight.dtype))
        wanted = (*y.shape[:-2], self.scale * y.shape[-2], self.scale * y.shape[-1])
        if x.shape != wanted:
            raise ModelError(f"the network made {tuple(x.shape)} of {tuple(y.shape)}, not {wanted}")
        if not x.isfinite().all():
            raise ModelError("the network made values that are not finite: its checkpoint is damaged")
        return x.clamp(0, 1).to(y.dtype)


class Baseline(nn.Module):
    """One way to super-resolve, for comparison.

    Each image passes through the network alone and whole: the result does not depend on the rest of the batch. Tiles
    would change it, because RCAN and others compute statistics of the whole image. No gradients are recorded.

    Attributes:
        name: such as "edsr", "edsr+consistent", or the stem of a checkpoint's file.
        scale: s.
        source: where the weights come from.
        licence: of the weights; "unknown" for a checkpoint that is none of `published_weights`.
        version: architecture, file and digest of the weights, for the record.
    """

    def __init__(
        self,
        network: nn.Module,
        scale: int,
        name: str,
        source: str,
        licence: str,
        version: str,
        consistent: bool = False,
    ) -> None:
        super().__init__()
        self.network: nn.Module = _InRange(network, scale)
        if consistent:
            self.network = Consistent(self.network, Degradation(scale))
        self.name = f"{name}+consistent" if consistent else name
        self.scale, self.source, self.licence, self.version = scale, source, licence, version
        self.eval()

    @torch.no_grad()
    def forward(self, y: Tensor) -> Tensor:
        """HR images.

        Args:
            y: (B, 3, h, w) in [0, 1], floating point.

        Returns:
            (B, 3, s·h, s·w), dtype as y, in [0, 1]; with ``consistent`` projected after that, so that it downscales
            to y, and slightly beyond the range in places (`vspsr.quantize` brings it to integers in range).

        Raises:
            ValueError: another shape, values that are not finite or out of range.
            ModelError: the network fails on it.
        """
        check_rgb(y)
        try:
            return torch.cat([self.network(image[None]) for image in y])
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error


def load_baseline(
    name_or_checkpoint: str, scale: int, checkpoint: str | Path | None = None, consistent: bool = False
) -> Baseline:
    """A baseline, ready to run. Nothing is downloaded (`fetch_weights` does that), nothing unpickled.

    Args:
        name_or_checkpoint: a name in `BASELINES` or `published_weights`, or a checkpoint's path: any that spandrel
            reads, or in a layout of EDSR or SRGAN that docs/baselines.md lists. A file comes before a name.
        scale: integer of at least 2.
        checkpoint: the weights of the baseline named; by default those that `fetch_weights` put into
            `weights_folder()`.
        consistent: whether its output is projected onto the images that downscale to its input (`vspsr.Consistent`).

    Raises:
        ValueError: a bad scale, or a checkpoint for a baseline without weights.
        ModelError: nothing of that name; no weights there; a file that is damaged, of another architecture or scale,
            or whose keys are missing or unknown.
    """
    Degradation(scale)  # checks the scale
    kind = kind_of(name_or_checkpoint)
    is_file = kind == "file" and checkpoint is None
    published = None if is_file else published_weights().get(name_or_checkpoint)
    info = None if is_file else BASELINES.get(published.architecture if published else name_or_checkpoint)
    if info is None:
        if checkpoint is not None:
            raise ValueError(
                f"`checkpoint` goes with one of {', '.join(BASELINES)}, got {one_line(name_or_checkpoint)!r} as well"
            )
        if kind is None:
            if Path(name_or_checkpoint).suffix or Path(name_or_checkpoint).name != name_or_checkpoint:
                raise ModelError(f"{one_line(name_or_checkpoint)}: no such file, and no baseline of this name")
            raise ModelError(
                f"unknown baseline {one_line(name_or_checkpoint)!r}: give one of {', '.join(BASELINES)}, or a "
                "checkpoint's file"
            )
        path = Path(name_or_checkpoint)
    elif not info.needs_weights:
        if checkpoint is not None:
            raise ValueError(f"`checkpoint`: {info.name} has no weights, got {one_line(checkpoint)}")
        source, version = info.paper, "vspsr's imresize, bicubic, a = -0.5"
        return Baseline(Bicubic(scale), scale, info.name, source, "Apache-2.0", version, consistent)
    else:
        path = Path(checkpoint) if checkpoint is not None else _fetched(info, published, scale)
    return _from_checkpoint(path, scale, name_or_checkpoint if info else path.stem, info, consistent)


def _fetched(info: BaselineInfo, published: PublishedWeights | None, scale: int) -> Path:
    """The file that `fetch_weights` left."""
    if published is None:
        names = info.weights()
        if scale not in names:
            at = ", ".join(f"x{s}" for s in sorted(names))
            raise ModelError(
                f"{info.name}: no weights for x{scale} are published (those at {at} are): give a checkpoint"
            )
        published = published_weights()[names[scale]]
    path = weights_folder() / published.file
    if not path.is_file():
        raise ModelError(
            f"{info.name} needs weights: give a checkpoint, or fetch {published.name!r} ({published.licence}) with "
            f"`vspsr baselines --fetch {published.name}`"
        )
    return path


def _from_checkpoint(path: Path, scale: int, name: str, info: BaselineInfo | None, consistent: bool) -> Baseline:
    state, file = read_state(path), one_line(path)
    layout = layout_of(state)
    if layout is not None:
        network = build(state, layout, file)
        architecture, title = layout.baseline, layout.release
    else:
        network = pretrained_from_state(state, file)
        architecture, title = network.architecture.lower(), f"{network.architecture}, read by spandrel"
    if info is not None and architecture != info.name:
        raise ModelError(f"{file}: is {title}, not {info.title}: give the file itself as the baseline")
    if network.scale != scale:
        raise ModelError(f"{file}: its network enlarges by {network.scale}, not by {scale}")
    digest = sha256_of(path)
    known = next((w for w in published_weights().values() if w.sha256 and digest.startswith(w.sha256)), None)
    source, licence = (known.page, known.licence) if known else (file, "unknown")
    version = f"{title}, {one_line(path.name)}, sha256 {digest}"
    return Baseline(network, scale, name, source, licence, version, consistent)
