"""Image files and pictures: the only package that knows file formats."""

from vspsr.images.io import read_header, read_image, write_image
from vspsr.images.jpeg_file import jpeg_coefficients
from vspsr.images.picture import Header, Picture

__all__ = ["Header", "Picture", "jpeg_coefficients", "read_header", "read_image", "write_image"]
