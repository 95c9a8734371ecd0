"""The set of LR images that give a JPEG: against libjpeg (Pillow), scipy's DCT and the definition of a projection."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import torch
from jpeg_files import coefficients_differ, photo, saved, saved_as

from vspsr.degradation import JpegCoefficients, JpegSet
from vspsr.degradation.jpeg_set import encode_jpeg
from vspsr.images.jpeg_file import read_coefficients

SAMPLINGS = ["4:4:4", "4:2:2", "4:2:0"]


@pytest.mark.parametrize("size", [(48, 64), (37, 61), (17, 34), (9, 10), (1, 1)])
@pytest.mark.parametrize("subsampling", SAMPLINGS)
def test_the_original_is_verified(size: tuple[int, int], subsampling: str) -> None:
    image = photo(*size)
    for quality in (50, 90, 100):
        content = saved(image, quality=quality, subsampling=subsampling)
        assert JpegSet(read_coefficients(content)).wrong(image) == 0


@pytest.mark.parametrize("subsampling", SAMPLINGS)
def test_wrong_coefficients_are_those_that_pillow_saves(subsampling: str) -> None:
    image = photo(37, 45)
    content = saved(image, quality=85, subsampling=subsampling)
    code = read_coefficients(content)
    other = (image.int() + torch.randint(-3, 4, image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    differ = coefficients_differ(read_coefficients(saved_as(other, content)), code)
    assert differ > 100
    assert JpegSet(code).wrong(other) == differ
    assert JpegSet(code).wrong(torch.stack([image.int(), other])).tolist() == [0, differ]


def test_encode_as_pillow() -> None:
    for image in (photo(37, 45), photo(37, 45)[:1]):
        code = read_coefficients(saved(image, quality=70))
        assert coefficients_differ(encode_jpeg(image, code.tables, code.sampling), code) == 0


def test_grey_projection_is_a_clipped_dct() -> None:
    image = photo(24, 32)[:1]
    code = read_coefficients(saved(image, quality=60))
    y = torch.rand(1, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    steps, expected = code.tables[0].numpy(), np.empty((24, 32))
    for i in range(3):
        for j in range(4):
            part = slice(8 * i, 8 * i + 8), slice(8 * j, 8 * j + 8)
            spectrum = scipy.fft.dctn(255 * y[0].numpy()[part] - 128, norm="ortho")
            q = code.coefficients[0][i, j].numpy()
            expected[part] = scipy.fft.idctn(np.clip(spectrum, (q - 0.5) * steps, (q + 0.5) * steps), norm="ortho")
    np.testing.assert_allclose(JpegSet(code).project(y)[0].numpy(), (expected + 128) / 255, atol=1e-6)


@pytest.mark.parametrize("subsampling", SAMPLINGS)
def test_projection_is_the_nearest_point(subsampling: str) -> None:
    """(y − Πy)·(p − Πy) ≤ 0 for all p of the set, in YCbCr: that is what makes Πy the nearest."""
    image = photo(32, 48)
    jpeg_set = JpegSet(read_coefficients(saved(image, quality=50, subsampling=subsampling)))
    generator = torch.Generator().manual_seed(0)
    y, others = (torch.rand(*n, 3, 32, 48, dtype=torch.float64, generator=generator) for n in ((), (5,)))
    projected, members = jpeg_set.project(y), jpeg_set.project(others)

    def ycc(x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ij,...jhw->...ihw", jpeg_set.colours, x)

    assert (y - projected).abs().max() > 0.1
    products = (ycc(y - projected) * ycc(members - projected)).sum((-3, -2, -1))
    assert (products <= 1e-6).all()
    assert (jpeg_set.project(projected) - projected).abs().max() < 1e-6


@pytest.mark.parametrize("subsampling", SAMPLINGS)
def test_projection_at_the_border(subsampling: str) -> None:
    image = photo(21, 37)
    jpeg_set = JpegSet(read_coefficients(saved(image, quality=50, subsampling=subsampling)))
    y = torch.rand(3, 21, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    projected = jpeg_set.project(y)
    assert (jpeg_set.project(projected) - projected).abs().max() < 0.1 / 255
    assert (jpeg_set.project(image.double() / 255) - image / 255).abs().max() < 1 / 255


def test_bad_arguments() -> None:
    code = read_coefficients(saved(photo(16, 24)))
    with pytest.raises(ValueError, match=r"`y`.*\(3, 16, 24\)"):
        JpegSet(code).project(torch.rand(3, 24, 16))
    with pytest.raises(ValueError, match=r"`image`.*\(1, 16, 24\)"):
        JpegSet(code).wrong(torch.zeros(1, 16, 24))
    with pytest.raises(ValueError, match=r"`image` must be a torch\.Tensor"):
        JpegSet(code).wrong(np.zeros((3, 16, 24)))  # type: ignore[arg-type]
    assert JpegSet(code).wrong(torch.zeros(0, 3, 16, 24)).tolist() == []
    assert JpegSet(code).wrong(torch.zeros(3, 16, 24)).shape == ()
    assert JpegSet(code).wrong(torch.zeros(2, 1, 3, 16, 24)).shape == (2, 1)
    with pytest.raises(ValueError, match=r"`orientation`.*9"):
        JpegCoefficients(code.size, code.coefficients, code.tables, code.sampling, 9)
    with pytest.raises(ValueError, match="`coefficients`"):
        JpegCoefficients((17, 24), code.coefficients, code.tables, code.sampling)
    with pytest.raises(ValueError, match="`tables`"):
        JpegCoefficients(code.size, code.coefficients, code.tables[:2], code.sampling)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("subsampling", SAMPLINGS)
def test_a_part_is_the_file_of_its_mcus(subsampling: str, orientation: int) -> None:
    """MCUs are encoded one by one: libjpeg gives the same coefficients for them alone."""
    stored = photo(53, 75)
    code = replace(read_coefficients(saved(stored, quality=70, subsampling=subsampling)), orientation=orientation)
    upright = code.upright(stored)
    height, width = upright.shape[-2:]
    for rows, columns in (
        (slice(17, 30), slice(20, 33)),
        (slice(0, 5), slice(40, width)),
        (slice(33, height), slice(1)),
    ):
        columns = slice(*columns.indices(width)[:2])
        part, covered_rows, covered_columns = code.part(rows, columns)
        assert covered_rows.start <= rows.start < rows.stop <= covered_rows.stop
        assert covered_columns.start <= columns.start < columns.stop <= covered_columns.stop
        own = upright[:, covered_rows, covered_columns]
        assert part.upright_size == own.shape[-2:]
        alone = read_coefficients(saved(part.stored(own), quality=70, subsampling=subsampling))
        assert part.size == alone.size
        assert coefficients_differ(part, alone) == 0
