"""Pictures of other methods: made consistent (`vspsr project`), and judged beside true ones (`vspsr assess`).

    python benchmarks/peers.py PEERS --hr TESTSETS            # PEERS/Set5_x4/RCAN/…, TESTSETS/Set5/…

First table: LR values wrong and PSNR (Y, 4 pixels of the border left out) before and after the projection. Second: how
unlikely true pictures are, the model's samples, those of the methods, and true pictures into which a patch of another
one is pasted: as they are, and made to downscale to LR exactly. LR pictures are made from HR as MATLAB does.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn.functional import avg_pool2d

from vspsr import Degradation, VSpSR, read_image
from vspsr.images.folders import image_files
from vspsr.images.picture import Picture
from vspsr.images.sheets import busiest
from vspsr.metrics import psnr
from vspsr.model import model_file
from vspsr.upscaling import PictureSpace, degrade
from vspsr.upscaling.assessment import Assessment, assess
from vspsr.upscaling.intervals import FILE_NAME, read_calibration
from vspsr.upscaling.projecting import like, project_picture

PATCH = 48  # HR pixels: side of the pasted patch


def hr_pictures(folder: Path, scale: int) -> dict[str, Picture]:
    """Stem → picture as RGB, cropped to a multiple of the scale."""
    found = {}
    for path in image_files([folder]):
        picture = read_image(path)
        h, w = (n // scale * scale for n in picture.size)
        found[path.stem] = Picture(picture.pixels[:, :h, :w].expand(3, -1, -1).contiguous())
    return found


def pasted(hr: Picture, other: Picture) -> tuple[Picture, tuple[int, int]]:
    """A picture with the busiest patch of another in its middle; its top left corner, in HR pixels."""
    grey = other.pixels.double().mean(0)
    detail = (grey - avg_pool2d(grey[None], 9, 1, 4)[0]).abs()
    left, top, right, bottom = busiest(detail.numpy(), PATCH)
    at = [(n - PATCH) // 8 * 4 for n in hr.size]
    pixels = hr.pixels.clone()
    pixels[:, at[0] : at[0] + PATCH, at[1] : at[1] + PATCH] = other.pixels[:, top:bottom, left:right]
    return replace(hr, pixels=pixels), (at[0], at[1])


def y_psnr(a: Picture, b: Picture) -> float:
    return float(psnr(a.pixels, b.pixels, 255, channel="y", border=4))


def methods(peers: Path, hr: Path, scale: int) -> Iterator[tuple[str, str, Picture, Picture, Picture]]:
    """(set/method, stem, SR, HR, LR) of every picture."""
    for folder in sorted(p for p in peers.glob(f"*_x{scale}/*") if p.is_dir()):
        truths = hr_pictures(hr / folder.parent.name.removesuffix(f"_x{scale}"), scale)
        for path in image_files([folder]):
            truth = truths[path.stem]
            lr = degrade(truth, Degradation(scale))
            sr = like(read_image(path), lr)
            sr = Picture(sr.pixels[:, : truth.size[0], : truth.size[1]].contiguous())
            yield f"{folder.parent.name}/{folder.name}", path.stem, sr, truth, lr


def projection_table(peers: Path, hr: Path, scale: int) -> Table:
    rows: dict[str, list[tuple[int, int, float, float, float, float]]] = defaultdict(list)
    for name, _, sr, truth, lr in track(list(methods(peers, hr, scale)), console=Console(stderr=True), transient=True):
        made = project_picture(sr, lr)
        e = made.exactness
        figures = y_psnr(sr, truth), y_psnr(made.picture, truth), e.moved_rms, e.moved_max
        rows[name].append((made.wrong_before, e.lr_values_wrong, *figures))
    table = Table("", "LR values wrong", "after", "PSNR Y", "after", "moved, rms", "at most", title="vspsr project")
    for name, values in rows.items():
        before, after, p0, p1, rms, most = zip(*values, strict=True)
        moves = f"{mean(rms):.2f}", f"{max(most):.0f}"
        table.add_row(name, f"{sum(before)}", f"{sum(after)}", f"{mean(p0):.3f}", f"{mean(p1):.3f}", *moves)
    return table


def assessment_table(peers: Path, hr: Path, model: VSpSR, name: str) -> Table:
    file = model_file(name, FILE_NAME)
    true = None if file is None else read_calibration(file)
    rows: dict[str, list[Assessment]] = defaultdict(list)
    found: list[bool] = []
    bounded: list[bool] = []
    on_map: list[bool] = []
    for folder in sorted({p.parent.name for p in peers.glob(f"*_x{model.scale}/*")}):
        kind = folder.removesuffix(f"_x{model.scale}")
        truths = hr_pictures(hr / kind, model.scale)
        stems = list(truths)
        for i, stem in enumerate(track(stems, console=Console(stderr=True), transient=True)):
            lr = degrade(truths[stem], model.degradation)
            rows[f"{kind}: true"].append(assess(truths[stem], lr, model, true))
            sample = PictureSpace(model, lr).sample(0)[0]
            rows[f"{kind}: our sample"].append(assess(sample, lr, model, true))
            patched, (top, left) = pasted(truths[stem], truths[stems[i - 1]])
            as_pasted = assess(patched, lr, model, true)
            rows[f"{kind}: true, foreign patch"].append(as_pasted)
            bounds = as_pasted.comparison.lr_wrong_rows, as_pasted.comparison.lr_wrong_columns
            expected = [(start // model.scale, (start + PATCH) // model.scale - 1) for start in (top, left)]
            near = 2  # LR pixels: support of the kernel to each side
            bounded.append(
                all(
                    b is not None and abs(b[0] - e[0]) <= near and abs(b[1] - e[1]) <= near
                    for b, e in zip(bounds, expected, strict=True)
                )
            )
            judged = assess(project_picture(patched, lr).picture, lr, model, true)
            rows[f"{kind}: the same, made exact"].append(judged)
            most_unlikely = divmod(int(as_pasted.unlikeliness.by_pixel.argmax()), lr.size[1])
            for places, place in ((on_map, most_unlikely), (found, judged.unlikeliness.at)):
                places.append(all(low <= p <= high for p, (low, high) in zip(place, expected, strict=True)))
    others = list(methods(peers, hr, model.scale))
    for method, _, sr, _, lr in track(others, console=Console(stderr=True), transient=True):
        rows[method].append(assess(sr, lr, model, true))
    columns = "LR values wrong", "distance / expected", "unlikeliness", "most foreign", "p < 0.05", "smooth: p < 0.05"
    title = (
        f"vspsr assess, {name}; as pasted, the red dots of the map bound the patch to 2 LR pixels in {sum(bounded)} of "
        f"{len(bounded)}, and the most unlikely LR pixel lies in it in {sum(on_map)}; made exact, it is the most "
        f"foreign place in {sum(found)} of {len(found)}"
    )
    table = Table("medians", *columns, title=title)
    for row, values in rows.items():
        details = [v.unlikeliness for v in values]
        wrong = f"{sum(v.lr_values_wrong for v in values) / sum(v.comparison.total for v in values):.1%}"
        unusual = sum(min(v.p_whole or 1, v.p_foreign or 1) < 0.05 for v in values)
        scores = (median(d.distance / d.expected for d in details), median(d.whole for d in details))
        texts = (*(f"{s:.2f}" for s in scores), f"{median(d.foreign for d in details):.1f}")
        smooth = sum((v.p_smooth or 1) < 0.05 for v in values)
        table.add_row(row, wrong, *texts, f"{unusual} of {len(values)}", f"{smooth} of {len(values)}")
    return table


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path)
    parser.add_argument("--hr", type=Path, required=True, help="folder with a folder for each test set")
    parser.add_argument("--model", default="vspsr-x4")
    parser.add_argument("--skip", choices=("project", "assess"))
    args = parser.parse_args()
    model = VSpSR.from_pretrained(args.model)
    if args.skip != "project":
        Console().print(projection_table(args.peers, args.hr, model.scale))
    if args.skip != "assess":
        Console().print(assessment_table(args.peers, args.hr, model, args.model))


if __name__ == "__main__":
    main()
