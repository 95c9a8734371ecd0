"""Which model a picture gets, by Python."""

import io

import pytest
import torch
from PIL import Image
from skimage import data

from vspsr import VSpSR, upscale
from vspsr.model import shipped_models
from vspsr.upscaling.models import Models
from vspsr.upscaling.saving import Options

PHOTO = Image.fromarray(data.astronaut()[40:52, 200:212])


def content(kind: str) -> bytes:
    buffer = io.BytesIO()
    PHOTO.save(buffer, kind, quality=90)
    return buffer.getvalue()


def test_the_default_is_the_shipped_model_that_fits() -> None:
    for image, name in ((content("jpeg"), "vspsr-x4-explore"), (content("png"), "vspsr-x4"), (PHOTO, "vspsr-x4")):
        default, named = (upscale(image, model, samples=1).samples[0].pixels for model in (None, name))
        assert torch.equal(default, named)


@pytest.mark.parametrize("scale", [4, 8])
def test_the_models_for_jpegs_are_those_that_were_trained_on_them(scale: int) -> None:
    models = Models(scale=scale)
    shipped = {name: VSpSR.from_pretrained(name) for name in shipped_models()}
    trained = [name for name, model in shipped.items() if model.scale == scale and model.trained_on_jpegs]
    model, name = models.fitting(jpeg=True)
    assert model.scale == models.scale == scale
    assert name in (trained or shipped)
    assert models.fitting()[1] == f"vspsr-x{scale}"


def test_one_model_for_all_where_it_is_named() -> None:
    loads: list[str] = []

    def load(name: str) -> VSpSR:
        loads.append(name)
        return VSpSR.from_pretrained(name)

    models = Models("vspsr-x8", load=load)
    assert models.fitting(jpeg=True) == models.fitting() == (models.fitting()[0], "vspsr-x8")
    assert loads == ["vspsr-x8"]
    with pytest.raises(ValueError, match="`scale` 4 does not fit: the model vspsr-x8 upscales by 8"):
        Models("vspsr-x8", 4)
    with pytest.raises(ValueError, match="`scale` 2: shipped models upscale by 4 and 8"):
        Models(scale=2)


@pytest.mark.parametrize(
    ("options", "jpeg", "png"),
    [
        (Options(), True, False),
        (Options(was_jpeg=True), True, True),
        (Options(as_pixels=True), False, False),
        (Options(denoise=0.01), False, False),
    ],
)
def test_what_counts_by_its_coefficients(options: Options, jpeg: bool, png: bool) -> None:
    assert [options.by_coefficients(content(kind)) for kind in ("jpeg", "png")] == [jpeg, png]
