"""Perceptual distances by name, with the weights of their packages; nothing is unpickled."""

import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from vspsr.checks import check_choice, check_types
from vspsr.errors import ModelError
from vspsr.files import one_line
from vspsr.metrics.perceptual import Backend
from vspsr.metrics.stlpips_nets import BlurPool, ShiftTolerantLPIPS
from vspsr.state_dicts import digest_of, load, read_tensors

BACKENDS = ("lpips-alex", "lpips-vgg", "lpips-squeeze", "stlpips-alex", "stlpips-vgg")
"""Names that `perceptual_backend` knows. Those in ``stlpips-`` need no network."""

_BACKBONES = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
_MIN_SIZE = {"lpips-alex": 31, "lpips-vgg": 16, "lpips-squeeze": 17, "stlpips-alex": 21, "stlpips-vgg": 18}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS v0.1's input scaling


def perceptual_backend(name: str, device: str | torch.device = "cpu") -> Backend:
    """A perceptual distance by name.

    Args:
        name: "lpips-alex" (the challenge's), "lpips-vgg", "lpips-squeeze": LPIPS v0.1 of the package lpips, over
            torchvision's ImageNet weights, which torchvision downloads once; "stlpips-alex", "stlpips-vgg":
            shift-tolerant LPIPS, from the weights in the package stlpips-pytorch, no network needed.
        device: where to compute.

    Raises:
        ValueError: an unknown name.
        ModelError: a package of the extra ``eval`` is missing, or weights are not available or not as expected.
    """
    check_choice(name, "name", BACKENDS)
    check_types(device=(device, str | torch.device))
    package, net = name.split("-")
    module, source = (_lpips if package == "lpips" else _stlpips)(net)
    label = f"{source}, weights sha256 {digest_of(module.state_dict())[:12]}"
    if isinstance(module, ShiftTolerantLPIPS):
        module.fuse()
    return Backend(module, name, label, device, _MIN_SIZE[name])


def _stlpips(net: str) -> tuple[nn.Module, str]:
    # The package's modules are not imported: they need packages that it does not declare.
    found = find_spec("stlpips_pytorch")
    if found is None or not found.submodule_search_locations:
        raise _missing("stlpips", "stlpips-pytorch")
    path = Path(found.submodule_search_locations[0], "weights", "vST0.0", f"{net}_shift_tolerant.pth")
    module = ShiftTolerantLPIPS(net).float()
    _fill(module, read_tensors(path, mmap=True).__getitem__, path.name)
    for key, layer in module.named_modules():
        if isinstance(layer, BlurPool) and not torch.allclose(layer.filt, BlurPool(1).filt.float(), atol=1e-6):
            raise ModelError(f"{path.name}: {key} is not the binomial filter: another release of stlpips-pytorch?")
    return module, f"stlpips-pytorch {version('stlpips-pytorch')} vST0.0"


def _lpips(net: str) -> tuple[nn.Module, str]:
    try:
        import lpips  # type: ignore[import-untyped,import-not-found]
        import torchvision  # type: ignore[import-untyped,import-not-found]
    except ImportError as error:
        raise _missing("lpips", error.name or "lpips") from error
    with warnings.catch_warnings(), torch.device("meta"):  # on "meta": no random weights, no unused classifier
        warnings.simplefilter("ignore")  # of torchvision, about the package's old-fashioned arguments
        module = lpips.LPIPS(net=net, version="0.1", pretrained=False, pnet_rand=True, verbose=False)
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    linear, backbone = read_tensors(path, mmap=True), _backbone(net)

    def value(key: str) -> Tensor:
        part, _, rest = key.partition(".")
        if part == "net":  # net.slice2.3.weight is features.3.weight
            return backbone["features." + rest.partition(".")[2]]
        if part == "scaling_layer":
            return torch.tensor(_SHIFT if rest == "shift" else _SCALE).reshape(1, 3, 1, 1)
        return linear["lin" + rest if part == "lins" else key]

    _fill(module, value, path.name)
    return module, f"lpips {version('lpips')} v0.1, torchvision {torchvision.__version__} {_BACKBONES[net]}"


def _backbone(net: str) -> Mapping[str, Tensor]:
    """ImageNet weights as torchvision gets them: from its cache, or downloaded to it and checked against their hash."""
    from torchvision import models  # type: ignore[import-untyped,import-not-found]

    url = getattr(models, _BACKBONES[net]).IMAGENET1K_V1.url
    name = url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), Path(name).stem.rsplit("-", 1)[-1], progress=False)
        return read_tensors(path, mmap=True)
    except Exception as error:  # any error of the network, the disk or the file
        raise ModelError(
            f"lpips-{net}: the weights {name} of torchvision are not available ({one_line(error)[:200]}): put the file "
            f"into {path.parent}, or use stlpips-alex or stlpips-vgg, which need no network"
        ) from error


def _fill(module: nn.Module, value: Callable[[str], Tensor], source: str) -> None:
    """Give a module every value that it has a place for; ModelError if one is missing or of another shape."""
    state = {}
    for key in module.state_dict():
        try:
            state[key] = value(key)
        except KeyError as error:
            raise ModelError(f"{source}: {error} is missing: another release than the one known?") from error
    load(module, state, source, "another release than the one known:", assign=True)


def _missing(package: str, name: str) -> ModelError:
    return ModelError(f"{package} needs the package {name}: install vspsr[eval]")
