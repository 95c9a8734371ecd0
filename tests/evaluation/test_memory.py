"""The memory that an evaluation takes is what the number of processes is computed from."""

import json
from pathlib import Path

import pytest
import torch
from evaluation_tools import noisy, save
from fresh_process import needs_linux, output_of
from safetensors.torch import save_file
from skimage import data

from vspsr.baselines.layouts import LAYOUTS, layer_names
from vspsr.baselines.networks import EDSR

# The peaks of a small image, for what is loaded once, and of a large one beside that; each with its estimate.
MEASURE = """
from pathlib import Path
from vspsr.consistency.threads import one_thread
from vspsr.evaluation.dataset import find_pairs
from vspsr.evaluation.processes import memory_needed
from vspsr.evaluation.request import Request
from vspsr.evaluation.scoring import Scorer

folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
if options.keys() & {"model", "baseline"}:
    request = Request(hr=folder / "hr", scale=4, **options)
else:
    request = Request(hr=folder / "hr", scale=4, results=folder / "sr", **options)
small, large = find_pairs(request.hr, 4, results=request.results)
with one_thread():
    scorer = Scorer(request, 2)
    scorer.score(small, folder / "a")
    loaded, before = memory("VmHWM"), memory("VmRSS")
    reset_peak()
    scorer.score(large, folder / "b")
n, pixels = scorer.source.n_samples, large.size[0] * large.size[1]
base = memory_needed(request, n, 0)
print(json.dumps([[loaded, base], [memory("VmHWM") - before, memory_needed(request, n, pixels) - base]]))
"""


def wide_edsr(path: Path, depth: int) -> Path:
    """A checkpoint of EDSR with its 256 channels, as the authors' release names its keys."""
    names = layer_names(LAYOUTS[0].names, depth, 2)
    state = EDSR(256, depth, [2, 2]).state_dict().items()
    save_file({f"{names[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in state}, path)
    return path


@pytest.mark.slow
@needs_linux
@pytest.mark.parametrize(
    "options",
    [
        {"backend": "stlpips-alex"},
        {"backend": "stlpips-vgg"},
        {"backend": "stlpips-alex", "model": "vspsr-x4", "samples": 4},
        {"backend": "stlpips-alex", "baseline": "bicubic"},
        {"backend": "stlpips-alex", "baseline": "edsr"},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_scoring_takes_the_memory_that_is_estimated(tmp_path: Path, options: dict[str, object]) -> None:
    """`pytest -n0 -s -m slow tests/evaluation/test_memory.py` prints the figures."""
    for stem, (height, width) in {"small": (64, 64), "wide": (256, 384)}.items():
        hr = torch.from_numpy(data.astronaut()[:height, :width].copy()).permute(2, 0, 1).int()
        save(tmp_path / "hr" / f"{stem}.png", hr)
        for k in range(2):
            save(tmp_path / "sr" / f"{stem}_s{k:02d}.png", noisy(hr, k))
    if options.get("baseline") == "edsr":
        options = {**options, "checkpoint": str(wide_edsr(tmp_path / "edsr.safetensors", 32))}
    figures = output_of(MEASURE, tmp_path, json.dumps(options))
    for what, (peak, estimate) in zip(("loaded", "image"), figures, strict=True):
        print(f"{what}: peak {peak / 2**20:.0f} MiB, estimate {estimate / 2**20:.0f} MiB")
        assert peak <= estimate <= 3 * peak, what
