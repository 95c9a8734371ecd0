"""Public functions refuse an argument of another type, and their error names it."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.helpers import jpeg_files
from tests.helpers.spaces import make_space, small_model
from tests.test_state_dicts import authors_state
from torch import nn

import vspsr
from vspsr import Consistent, Degradation, SRSpace, VSpSR, degradation, images, metrics, space, upscaling
from vspsr.errors import VSpSRError, is_expected
from vspsr.images.sources import Source
from vspsr.metrics.stlpips_nets import ShiftTolerantLPIPS

MODULES = (vspsr, space, degradation, metrics, images, upscaling)
METHODS = (Consistent, Degradation, SRSpace, VSpSR, space.Region, metrics.Backend)
WRONG = (None, "nonsense", True, object())

NOT_CALLED = {
    # What functions return: it holds what it is given.
    *("Calibration", "Comparison", "Conflict", "DiversityScore", "Exactness", "Header", "LikelihoodRatio", "Marginals"),
    *("Nearest", "PerceptualScore", "PrincipalComponents", "Upscaled"),
    # Made by networks and by `jpeg_coefficients`, not by hand.
    *("JpegCoefficients", "SpaceParameters", "StochasticBasis"),
    # Made from an `SRSpace`: see `condition` and `from_space`.
    *("ConditionedSpace", "JpegDetailSpace", "JpegSpace", "NoisySpace"),
    # Constants, an error, an abstract class.
    *("BACKENDS", "KERNELS", "LEVELS", "NotGaussianError", "Observation"),
    # The options of `VSpM`, in its tests.
    "VSpSR.from_authors_checkpoint.options",
}
ALLOWED = {  # (argument, value): besides None by default, and True for what is true or false
    # Any text is valid.
    *((name, "nonsense") for name in ("Backend.name", "Backend.version", "Picture.mode")),
    ("VSpSR.save_pretrained.folder", "nonsense"),
    # Numbers become a tensor, and True is 1.
    *((name, True) for name in ("Average.value", "Linear.value")),
    # PyTorch itself lists the devices that it knows.
    *((name, "nonsense") for name in ("Backend.device", "SRSpace.to.device", "perceptual_backend.device")),
    # A sequence, whose values are not looked at one by one.
    ("aggregate.values", "nonsense"),
}


NUMBERS = {"Average.value", "Linear.value", "Pixels.values", "Region.along.amounts"}
"""Tensors of numbers, for which arrays will do."""


@pytest.fixture(scope="module")
def o(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Objects that the calls are made with."""
    torch.manual_seed(0)
    x, y = torch.rand(1, 3, 20, 28).double(), torch.rand(1, 3, 5, 7).double()
    model, sr, folder = small_model(), make_space(), tmp_path_factory.mktemp("model")
    model.save_pretrained(folder / "own")
    torch.save(authors_state(), folder / "authors.pth")
    jpeg = jpeg_files.saved(jpeg_files.photo(16, 16))
    mask = torch.zeros(20, 28, dtype=torch.bool)
    mask[4:8, 4:8] = True
    region = sr.region(1, 1, 2, 2)
    return SimpleNamespace(
        **{"x": x, "y": y, "y32": y.float(), "d": Degradation(4), "sr": sr, "model": model, "folder": folder},
        **{"integers": (255 * x).byte(), "lr_integers": (255 * y).byte(), "jpeg": jpeg, "mask": mask},
        **{"lr": images.Picture((255 * y[0]).int()), "hr": images.Picture((255 * x[0]).int()), "region": region},
        **{"components": region.principal_components(2), "patch": torch.rand(3, 8, 8).double()},
        **{"code": images.jpeg_coefficients(jpeg), "of_jpeg": model(torch.rand(1, 3, 16, 16))},
        **{"surroundings": torch.zeros(3, 20, 28).double(), "enlarge": nn.Upsample(scale_factor=4)},
        **{"lpips": metrics.Backend(ShiftTolerantLPIPS("alex"), "any", "any", min_size=21)},
        condition=lambda **observations: sr.condition(*observations.values()),
        observe=lambda kind, **arguments: sr.condition(kind(**arguments)),
    )


_DRAWN = {"n": 1, "seed": 0, "temperature": 1.0}
_ROUNDED = {"bits": 8, "rounding": "single"}
_PART = {"top": 0, "left": 0, "height": 2, "width": 2}
_PSNR = {"peak": 1.0, "channel": "rgb", "border": 0}

CALLS: dict[str, Callable[[SimpleNamespace], tuple[Callable[..., Any], dict[str, Any]]]] = {
    "Consistent": lambda o: (Consistent, {"module": o.enlarge, "degradation": o.d}),
    "Consistent.forward": lambda o: (Consistent(o.enlarge, o.d).forward, {"y": o.y}),
    "Degradation": lambda o: (Degradation, {"scale": 4, "kernel": "box"}),
    "Degradation.adjoint": lambda o: (o.d.adjoint, {"u": o.y, "size": (20, 28)}),
    "Degradation.axis": lambda o: (o.d.axis, {"n": 8}),
    "Degradation.axis_pseudo_inverse": lambda o: (o.d.axis_pseudo_inverse, {"n": 8, "dtype": torch.float32}),
    "Degradation.condition_number": lambda o: (o.d.condition_number, {"n": 8}),
    "Degradation.down": lambda o: (o.d.down, {"x": o.x}),
    "Degradation.down_integers": lambda o: (o.d.down_integers, {"x": o.integers, **_ROUNDED}),
    "Degradation.down_uint8": lambda o: (o.d.down_uint8, {"x": o.integers}),
    "Degradation.lr_size": lambda o: (o.d.lr_size, {"height": 8, "width": 8}),
    "Degradation.pseudo_inverse": lambda o: (o.d.pseudo_inverse, {"u": o.y, "size": (20, 28)}),
    "Degradation.pseudo_inverse_adjoint": lambda o: (o.d.pseudo_inverse_adjoint, {"x": o.x}),
    "Degradation.reach": lambda o: (o.d.reach, {"tolerance": 0.01}),
    "SRSpace": lambda o: (
        SRSpace,
        {"y": o.sr.y, "parameters": o.sr.parameters, "degradation": o.d, "temperature": 1.0, "calibration": 1.0}
        | {"keys": [0]},
    ),
    "SRSpace.condition": lambda o: (o.condition, {"observations": space.Pixels(o.mask, o.patch[:, 0, 0])}),
    "SRSpace.corrected": lambda o: (o.sr.corrected, {"x": o.x}),
    "SRSpace.interpolate": lambda o: (o.sr.interpolate, {"seed_a": 0, "seed_b": 1, "t": 0.5, "temperature": 1.0}),
    "SRSpace.iter_samples": lambda o: (o.sr.iter_samples, {**_DRAWN, "start": 0}),
    "SRSpace.likelihood_ratio": lambda o: (
        o.sr.likelihood_ratio,
        {"picture_a": o.x, "picture_b": o.x, "stddev": 0.1},
    ),
    "SRSpace.nearest": lambda o: (o.sr.nearest, {"picture": o.x, "stddev": 0.1}),
    "SRSpace.perturb": lambda o: (o.sr.perturb, {**_DRAWN, "sample": 0, "amount": 0.5}),
    "SRSpace.region": lambda o: (o.sr.region, _PART),
    "SRSpace.rsample": lambda o: (o.sr.rsample, _DRAWN),
    "SRSpace.sample": lambda o: (o.sr.sample, _DRAWN),
    "SRSpace.select": lambda o: (o.sr.select, {"image": 0}),
    "SRSpace.stddev_at": lambda o: (o.sr.stddev_at, {"temperature": 1.0}),
    "SRSpace.to": lambda o: (o.sr.to, {"device": "cpu"}),
    "SRSpace.with_calibration": lambda o: (o.sr.with_calibration, {"calibration": 1.0}),
    "SRSpace.with_keys": lambda o: (o.sr.with_keys, {"keys": [1]}),
    "SRSpace.with_temperature": lambda o: (o.sr.with_temperature, {"temperature": 1.0}),
    "Region": lambda o: (space.Region, {"space": o.sr, **_PART}),
    "Region.along": lambda o: (
        o.region.along,
        {"components": o.components, "amounts": torch.ones(2), "base": o.x},
    ),
    "Region.corrected": lambda o: (o.region.corrected, {"x": o.surroundings}),
    "Region.likelihood_ratio": lambda o: (
        o.region.likelihood_ratio,
        {"patch_a": o.patch, "patch_b": o.patch, "stddev": 0.1},
    ),
    "Region.principal_components": lambda o: (o.region.principal_components, {"k": 1, "seed": 0}),
    "Region.sample": lambda o: (o.region.sample, _DRAWN),
    "Region.shifts": lambda o: (o.region.shifts, {"components": o.components}),
    "Region.stddev_at": lambda o: (o.region.stddev_at, {"temperature": 1.0}),
    "VSpSR": lambda o: (
        VSpSR,
        {"network": "overlapping", "options": {"n_atoms": 2, "channels": 4, "blocks": 1}, "kernel": "bicubic"}
        | {"temperature": 1.0, "calibration": 1.0, "trained_on_jpegs": False},
    ),
    "VSpSR.by_place": lambda o: (VSpSR("correlated").by_place, {"y": o.y32, "quantisation": torch.zeros_like(o.y32)}),
    "VSpSR.forward": lambda o: (o.model.forward, {"y": o.y32, "quantisation": o.y32}),
    "VSpSR.from_authors_checkpoint": lambda o: (
        partial(VSpSR.from_authors_checkpoint, n_atoms=8),
        {"path": o.folder / "authors.pth"},
    ),
    "VSpSR.from_pretrained": lambda o: (VSpSR.from_pretrained, {"name_or_path_or_hub_id": o.folder / "own"}),
    "VSpSR.save_pretrained": lambda o: (o.model.save_pretrained, {"folder": "new", "half": False}),
    "project": lambda o: (vspsr.project, {"x": o.x, "y": o.y, "degradation": o.d}),
    "quantize": lambda o: (
        vspsr.quantize,
        {"x": o.x, "y": o.y, "degradation": o.d, "budget": 1.0, **_ROUNDED},
    ),
    "read_image": lambda o: (vspsr.read_image, {"path": o.jpeg, "needed_per_pixel": 0}),
    "read_header": lambda o: (images.read_header, {"path": o.jpeg, "verify": True}),
    "jpeg_coefficients": lambda o: (images.jpeg_coefficients, {"path": o.jpeg}),
    "write_image": lambda o: (
        vspsr.write_image,
        {"path": "new.jpg", "picture": o.lr, "overwrite": True, "quality": 90},
    ),
    "Picture": lambda o: (
        images.Picture,
        {"pixels": o.lr.pixels, "bits": 8, "alpha": o.lr.pixels[:1], "metadata": {}, "mode": "RGBA"},
    ),
    "upscale": lambda o: (
        vspsr.upscale,
        {"image": o.lr, "model": o.model, "samples": 1, "seed": 0, "temperature": 1.0, "as_pixels": False}
        | {"denoise": 0.1, **_ROUNDED},
    ),
    "PictureSpace": lambda o: (
        upscaling.PictureSpace,
        {"model": o.model, "lr": o.lr, "temperature": 1.0, "budget": 1.0, "by_place": False, **_ROUNDED},
    ),
    "ConsistentPictures": lambda o: (
        upscaling.ConsistentPictures,
        {"source": Source(o.lr), "degradation": o.d, "hr_alpha": o.x[:, 0], "budget": 1.0, **_ROUNDED},
    ),
    "compare": lambda o: (
        upscaling.compare,
        {"hr": o.hr, "lr": o.lr, "scale": 4, "kernel": "box", "rounding": "single"},
    ),
    "degrade": lambda o: (upscaling.degrade, {"picture": o.hr, "degradation": o.d, "rounding": "single"}),
    "imresize": lambda o: (partial(degradation.imresize, scale=None), {"x": o.x, "size": (3, 4), "kernel": "box"}),
    "imresize by scale": lambda o: (partial(degradation.imresize, size=None, kernel="box"), {"x": o.x, "scale": 2.0}),
    "JpegSet": lambda o: (degradation.JpegSet, {"code": o.code}),
    "JpegSpace.from_space": lambda o: (
        space.JpegSpace.from_space,
        {"space": o.of_jpeg, "jpeg_set": degradation.JpegSet(o.code), "trained": False},
    ),
    "NoisySpace.from_space": lambda o: (space.NoisySpace.from_space, {"space": o.sr, "lr_variance": o.y}),
    "Average": lambda o: (partial(o.observe, space.Average), {"mask": o.mask, "value": 0.5, "stddev": 0.1}),
    "Linear": lambda o: (
        partial(o.observe, space.Linear),
        {"operator": torch.sum, "value": torch.tensor(0.5), "stddev": 0.1},
    ),
    "Pixels": lambda o: (partial(o.observe, space.Pixels), {"mask": o.mask, "values": o.patch[:, 0, 0], "stddev": 0.1}),
    "Same": lambda o: (
        partial(o.observe, space.Same),
        {"mask_a": o.mask, "mask_b": o.mask.roll(8, 0), "stddev": 0.1},
    ),
    "image_key": lambda o: (space.image_key, {"pixels": o.lr.pixels}),
    "Backend": lambda o: (
        metrics.Backend,
        {"module": ShiftTolerantLPIPS("alex"), "name": "any", "version": "any", "device": "cpu", "min_size": 21},
    ),
    "Backend.score": lambda o: (
        o.lpips.score,
        {"samples": torch.rand(2, 3, 32, 32), "truth": torch.rand(3, 32, 32), "pairwise": False} | {"peak": 1.0},
    ),
    "aggregate": lambda o: (metrics.aggregate, {"values": [1.0], "higher_is_better": True}),
    "calibrate": lambda o: (
        metrics.calibrate,
        {"samples": torch.rand(2, 3, 20, 28), "truth": o.x[0], "mean": o.x[0], "stddev": o.x[0], "step": 0.1}
        | {"peak": 1.0},
    ),
    "crop_to_multiple": lambda o: (metrics.crop_to_multiple, {"x": o.x, "multiple": 8}),
    "crop_to_size": lambda o: (metrics.crop_to_size, {"x": o.x, "height": 8, "width": 8}),
    "diversity_score": lambda o: (metrics.diversity_score, {"maps": o.x[0]}),
    "lr_agreement": lambda o: (
        metrics.lr_agreement,
        {"sr": o.integers, "lr": o.lr_integers, "degradation": o.d, **_ROUNDED},
    ),
    "perceptual_backend": lambda o: (metrics.perceptual_backend, {"name": "stlpips-alex", "device": "cpu"}),
    "pixel_stddev": lambda o: (metrics.pixel_stddev, {"samples": torch.rand(2, 3, 8, 8), "peak": 1.0}),
    "psnr": lambda o: (metrics.psnr, {"a": o.x, "b": o.x, **_PSNR}),
    "ssim": lambda o: (metrics.ssim, {"a": o.x, "b": o.x, **_PSNR}),
}


@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning", "ignore::vspsr.errors.ConsistencyWarning")
@pytest.mark.parametrize("name", CALLS)
def test_errors_name_the_argument(
    name: str, o: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, arguments = CALLS[name](o)
    function(**arguments)
    unnamed = []
    for argument, valid in arguments.items():
        default = inspect.signature(function).parameters.get(argument)
        for wrong in WRONG:
            if (f"{name}.{argument}", wrong) in ALLOWED or (wrong is True and isinstance(valid, bool)):
                continue
            if wrong is None and default is not None and default.default is None:
                continue
            try:
                function(**arguments | {argument: wrong})
            except Exception as error:
                text = str(error)
                # Errors about files and models begin with their name.
                quoted = isinstance(error, VSpSRError) and wrong == "nonsense" and wrong in text
                if not is_expected(error) or "\n" in text or not (f"`{argument}`" in text or quoted):
                    unnamed.append(f"{argument}={wrong!r}: {type(error).__name__}: {text[:100]}")
            else:
                unnamed.append(f"{argument}={wrong!r} is accepted")
    assert unnamed == []


@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning", "ignore::vspsr.errors.ConsistencyWarning")
@pytest.mark.parametrize("name", CALLS)
def test_an_array_where_a_tensor_is_wanted(name: str, o: SimpleNamespace) -> None:
    """The error says what it is, and that a tensor is wanted, instead of its values."""
    function, arguments = CALLS[name](o)
    unclear = []
    for argument, valid in arguments.items():
        if not isinstance(valid, torch.Tensor) or f"{name}.{argument}" in NUMBERS:
            continue
        array = valid.detach().numpy()
        try:
            function(**arguments | {argument: array})
        except ValueError as error:
            told = f"numpy.ndarray of {array.dtype} {array.shape}"
            wanted = "torch.Tensor" in str(error) and f"`{argument}`" in str(error)
            if not (is_expected(error) and wanted and told in str(error)):
                unclear.append(f"{argument}: {error}")
        else:
            unclear.append(f"{argument} is accepted")
    assert unclear == []


def test_every_public_argument_is_called() -> None:
    known = {name.split(" ")[0] for name in CALLS} | NOT_CALLED
    public = {f"{n}": getattr(module, n) for module in MODULES for n in module.__all__ if n not in NOT_CALLED}
    for owner in METHODS:
        for name, method in inspect.getmembers(owner, inspect.isroutine):
            own = not name.startswith("_") and inspect.unwrap(method).__module__.startswith("vspsr")
            if own and set(inspect.signature(method).parameters) - {"self"}:
                public[f"{owner.__name__}.{name}"] = method
    assert sorted(set(public) - known) == []


def test_every_argument_is_called(o: SimpleNamespace) -> None:
    for name, call in CALLS.items():
        function, arguments = call(o)
        if not isinstance(function, partial):
            left = set(inspect.signature(function).parameters) - set(arguments)
            assert not {f"{name}.{argument}" for argument in left} - NOT_CALLED - {"SRSpace.condition.observations"}
