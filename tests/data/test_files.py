"""Which images of a folder are trained on, and what is said of the others."""

from pathlib import Path

import pytest
import torch

from vspsr.data.files import find_images
from vspsr.errors import ImageFileError
from vspsr.images import Picture, write_image


def test_sizes_are_width_by_height(tmp_path: Path) -> None:
    write_image(tmp_path / "wide.png", Picture(torch.zeros(3, 20, 30, dtype=torch.int32)))
    with pytest.raises(ImageFileError, match=r"wide\.png: 30×20 pixels are fewer than a crop of 64×64"):
        find_images(tmp_path, 4, 16)
