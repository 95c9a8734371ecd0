"""The pictures of docs/photographs.md and docs/assess.md.

They are made from photographs of scikit-image that are CC0 or in the public domain.

python benchmarks/photograph_figures.py -o docs/images
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage import data

from vspsr import Degradation, VSpSR, upscale
from vspsr.images import Picture
from vspsr.upscaling import Upscaled, degrade
from vspsr.upscaling.assessment import assess, pictures_of
from vspsr.upscaling.projecting import project_picture

SIDE, GAP, TITLE = 64, 6, 18
NOISE = 10  # levels of 255


def lr_image(name: str, top: int, left: int) -> Image.Image:
    """A crop of 64×64 LR pixels, downscaled by 4."""
    hr = torch.from_numpy(np.atleast_3d(getattr(data, name)())).permute(2, 0, 1)
    lr = Degradation(4).down_integers(hr[:, top : top + 4 * SIDE, left : left + 4 * SIDE])
    return Image.fromarray(lr.permute(1, 2, 0).numpy().astype(np.uint8).squeeze())


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, **({} if image.mode == "L" else {"subsampling": "4:2:0"}))
    return file.getvalue()


def panels(path: Path, *rows: dict[str, Image.Image]) -> None:
    """Pictures side by side under their titles, each 256×256."""
    side = 4 * SIDE
    sheet = Image.new("RGB", (len(rows[0]) * (side + GAP) - GAP, len(rows) * (side + TITLE)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, pictures in enumerate(rows):
        for i, (title, picture) in enumerate(pictures.items()):
            left, top = i * (side + GAP), row * (side + TITLE)
            draw.text((left, top + 2), title, "black")
            sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (left, top + TITLE))
    sheet.save(path, quality=90)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


def assessed(path: Path, model: VSpSR) -> None:
    """A picture with a patch of another one: where LR is wrong, and how unlikely its detail is."""
    pixels = torch.from_numpy(data.astronaut()[:256, 100:356]).permute(2, 0, 1).int()
    true, pasted = Picture(pixels), Picture(pixels.clone())
    pasted.pixels[:, 136:184, 24:72] = torch.from_numpy(data.coffee()[190:238, 250:298]).permute(2, 0, 1)
    lr = degrade(true, model.degradation)
    shown = {
        "true": true,
        "with a foreign patch": pasted,
        "made exact by vspsr project": project_picture(pasted, lr).picture,
    }
    maps = {title: pictures_of(assess(picture, lr, model))["unlikely"] for title, picture in shown.items()}
    without_scale = {title: pillow(picture).crop((0, 0, 4 * SIDE, 4 * SIDE)) for title, picture in maps.items()}
    panels(path, {title: pillow(picture) for title, picture in shown.items()}, without_scale)


def pillow(picture: Picture) -> Image.Image:
    return Image.fromarray(picture.to_array())


def sample(result: Upscaled) -> Image.Image:
    return pillow(result.samples[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    clean_model, jpeg_model = (VSpSR.from_pretrained(name) for name in ("vspsr-x4", "vspsr-x4-explore"))

    assessed(args.output / "assess-map.webp", clean_model)

    def one(image: bytes | Image.Image, model: VSpSR = clean_model, **options: object) -> Upscaled:
        return upscale(image, model, samples=1, **options)  # type: ignore[arg-type]

    phone = jpeg(lr_image("coffee", 60, 150), 92)
    result = one(phone, jpeg_model)
    spread = (result.stddev.mean(0) / float(result.stddev.mean(0).quantile(0.995))).clamp(0, 1)
    panels(
        args.output / "photograph-phone.webp",
        {
            "photo, quality 92": Image.open(io.BytesIO(phone)),
            "sample": sample(result),
            "standard deviation": Image.fromarray((spread * 255).byte().numpy()).convert("RGB"),
        },
    )
    web = jpeg(lr_image("astronaut", 10, 100), 60)
    panels(
        args.output / "photograph-web.webp",
        {
            "photo, quality 60": Image.open(io.BytesIO(web)),
            "vspsr-x4 --as-pixels": sample(one(web, as_pixels=True)),
            "vspsr-x4": sample(one(web)),
            "vspsr-x4-explore": sample(one(web, jpeg_model)),
        },
    )
    page = Image.fromarray(data.page()[36 : 36 + SIDE, :SIDE])  # a photograph of print, small as it is
    kinds = {"sky": lr_image("rocket", 70, 190), "grass": lr_image("grass", 150, 120), "text": page}
    files = {f"{kind}, quality 60": jpeg(image, 60) for kind, image in kinds.items()}
    rows = []
    for title, file in files.items():
        result = one(file, jpeg_model)
        ours = {"vspsr-x4-explore": sample(result), "the mean": pillow(result.mean)}
        rows.append({title: Image.open(io.BytesIO(file)), "vspsr-x4": sample(one(file)), **ours})
    panels(args.output / "photograph-quality-60.webp", *rows)
    clean = np.asarray(lr_image("chelsea", 20, 100), np.float64)
    noise = NOISE * np.random.default_rng(0).standard_normal(clean.shape)
    scan = Image.fromarray((clean + noise).round().clip(0, 255).astype(np.uint8))
    denoised = one(scan, denoise="auto")
    panels(
        args.output / "photograph-scan.webp",
        {
            f"scan, noise of {NOISE} levels": scan,
            "sample, exact": sample(one(scan)),
            "--denoise auto": sample(denoised),
            "--denoise auto, the mean": pillow(denoised.mean),
        },
    )


if __name__ == "__main__":
    main()
