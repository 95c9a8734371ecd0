"""The memory that super-resolution takes is what its check says."""

from fresh_process import needs_linux, output_of

MEASURE = """
import torch
from vspsr import Degradation, VSpSR
from vspsr.images.picture import Picture
from vspsr.upscaling.pictures import PictureSpace, bytes_per_pixel

def picture(side):
    torch.manual_seed(0)
    small = torch.rand(1, 3, side // 4, side // 4)
    hr = torch.nn.functional.interpolate(small, (4 * side, 4 * side), mode="bicubic").mul(255).clamp(0, 255).round()
    return Picture(Degradation(4).down_integers(hr[0].int()))

model = VSpSR.from_pretrained("vspsr-x4")
next(iter(PictureSpace(model, picture(16)).samples(1)))  # what is loaded once
given = picture(256)
reset_peak()
before = memory("VmRSS")
for _ in PictureSpace(model, given).samples(2):
    pass
print(json.dumps([memory("VmHWM") - before, bytes_per_pixel(model) * 256 * 256]))
"""


@needs_linux
def test_super_resolution_takes_the_memory_that_is_checked() -> None:
    peak, estimate = output_of(MEASURE)
    assert 0.5 * estimate < peak < 1.3 * estimate
