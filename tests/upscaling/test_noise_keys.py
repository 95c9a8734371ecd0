"""The noise of a picture belongs to its content: not to its name, its place in a folder or who asks."""

from pathlib import Path

import torch
from spaces import small_model
from torch import Tensor

from vspsr import read_image, upscale, write_image
from vspsr.images import Picture
from vspsr.upscaling.pictures import PictureSpace

MODEL = small_model()


def lr_picture(offset: int = 0) -> Picture:
    """Smooth, so that integers are found at once."""
    rows, columns = torch.arange(9)[:, None], torch.arange(12)
    return Picture(
        torch.stack([90 + offset + 3 * rows + columns, 80 + rows + 4 * columns, 120 + rows - columns]).int(), 8
    )


def deviation(picture: Picture) -> Tensor:
    space = PictureSpace(MODEL, picture).space
    with torch.no_grad():
        return ((space.sample(1)[0] - space.mean) / space.stddev).flatten()


def test_a_file_and_its_picture_give_the_same_samples(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, lr_picture())
    (tmp_path / "z").mkdir()
    write_image(tmp_path / "z" / "c.tif", lr_picture())
    expected = upscale(lr_picture(), MODEL, samples=2).samples
    for path in (tmp_path / "a.png", tmp_path / "b.png", tmp_path / "z" / "c.tif"):
        found = upscale(path, MODEL, samples=2).samples
        assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(found, expected, strict=True))
        assert torch.equal(deviation(read_image(path)), deviation(lr_picture()))


def test_pictures_of_other_content_have_noise_of_their_own() -> None:
    """Even where hardly a value differs: correlation of what is random in their samples."""
    pictures = [deviation(lr_picture(offset)) for offset in range(4)]
    matrix = torch.corrcoef(torch.stack(pictures))
    assert matrix.fill_diagonal_(0).abs().max() < 0.2  # with shared noise above 0.9


def test_the_depth_of_the_output_does_not_change_the_noise() -> None:
    eight, sixteen = (PictureSpace(MODEL, lr_picture(), bits=bits).space for bits in (8, 16))
    assert eight.keys == sixteen.keys
