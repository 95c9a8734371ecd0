"""From an image file, or from report folders, to the files of its figures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vspsr.degradation.operator import Degradation
from vspsr.errors import OutputError
from vspsr.files import one_line, printable, read_json, sha256_of, write_json
from vspsr.images.io import read_image
from vspsr.images.opening import sha256_of_image
from vspsr.images.picture import bicubic
from vspsr.model import VSpSR
from vspsr.report.coefficients import basis, sparsity
from vspsr.report.figures import Box, Panel, busiest_boxes, plot_basis, plot_comparison, plot_sparsity
from vspsr.report.folder import ReportFolder, read_reports
from vspsr.report.plotting import figure_settings, save_figure
from vspsr.report.records import ImageRecord, ReportError
from vspsr.report.words import number
from vspsr.upscaling import PictureSpace, degrade
from vspsr.upscaling.comparison import cropped
from vspsr.upscaling.intervals import model_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 16  # LR pixels of a crop that is chosen here


@dataclass(frozen=True)
class FigureOptions:
    """What to draw, and the output.

    Attributes:
        folder: exists already.
        kinds: of "sparsity", "comparison", "atoms".
        boxes: crops of the comparison; empty: those where the pictures differ most.
        hr: the images are HR: they are downscaled first, and are the ground truth of the comparison.
        samples, seed: of the comparison.
        suffix: "png", "pdf" or "svg".
        overwrite: replace files that exist; otherwise those of the same settings are kept, and others are refused.
    """

    folder: Path
    kinds: tuple[str, ...] = ("sparsity", "comparison", "atoms")
    boxes: tuple[Box, ...] = ()
    hr: bool = False
    samples: int = 3
    seed: int = 0
    suffix: str = "png"
    overwrite: bool = False

    def path(self, stem: str, kind: str) -> Path:
        """{stem}_{kind}.{suffix}"""
        return self.folder / f"{stem}_{kind}.{self.suffix}"

    def is_kept(self, path: Path, settings: dict[str, Any]) -> bool:
        """Whether a file exists that was made with these settings (JSON values) and is not to be replaced.

        OutputError where it was made with others, or does not say how.
        """
        if self.overwrite or not path.exists():
            return False
        name, instead = one_line(path), "use --overwrite or another folder"
        content = read_json(path) if path.suffix == ".json" else {"settings": figure_settings(path)}
        found = content.get("settings") if isinstance(content, dict) else None
        if not isinstance(found, dict):
            raise OutputError(f"{name}: exists, but does not say that it was made with these settings: {instead}")
        for key in {**settings, **found}:
            was, now = found.get(key), settings.get(key)
            if was != now:
                change = "from other pictures" if key == "pictures_sha256" else "with another model of this name"
                if key != "model_sha256" and key != "pictures_sha256":
                    change = f"with {key} = {was!r}, not {now!r}"
                raise OutputError(f"{name}: exists, made {change}: {instead}")
        return True

    @property
    def crop(self) -> list[list[int]] | None:
        """The boxes as JSON values; None where they are chosen here."""
        return [list(box) for box in self.boxes] or None

    def save(self, figure: "Figure", path: Path, settings: dict[str, Any]) -> Path:
        """Write a figure."""
        save_figure(figure, path, self.overwrite, settings)
        return path

    def compare(self, panels: Sequence[Panel], scale: int, title: str, path: Path, settings: dict[str, Any]) -> Path:
        """Draw and write a comparison."""
        boxes = self.boxes or tuple(busiest_boxes(panels, _SIDE * scale))
        return self.save(plot_comparison(panels, boxes, title), path, settings)


def figures_of_image(path: Path, model: VSpSR, name: str, options: FigureOptions) -> Iterator[Path]:
    """Draw the figures of one image file. Files of the same settings are kept unless ``options.overwrite``.

    Args:
        path: an LR image, or an HR one with ``options.hr``. Alpha is left out.
        name: what to call the model.

    Yields:
        Each file when it is written: {stem}_sparsity, _comparison, _atoms with the suffix, and {stem}_sparsity.json.

    Raises:
        ImageFileError, OutputError: as in `read_image` and `replacing`; files exist that were made with other settings.
        ValueError: a crop outside the image.
    """
    files = {kind: options.path(path.stem, kind) for kind in options.kinds}
    if "sparsity" in files:
        files["values"] = options.folder / f"{path.stem}_sparsity.json"
    shared: dict[str, Any] = {"pictures_sha256": [sha256_of_image(path)], "hr": options.hr, "model": name}
    shared |= {"model_sha256": model_digest(model)}
    drawn_with = {"samples": options.samples, "seed": options.seed, "temperature": model.temperature}
    settings = dict.fromkeys(files, shared) | {"comparison": {**shared, **drawn_with, "crop": options.crop}}
    todo = {kind: file for kind, file in files.items() if not options.is_kept(file, settings[kind])}
    if not todo:
        return
    picture, truth = replace(read_image(path), alpha=None), None
    if options.hr:
        truth = cropped(picture, model.scale)
        picture = degrade(truth, Degradation(model.scale, model.degradation.kernel))
    space = PictureSpace(model, picture)
    title = f"{printable(path.name)}, {printable(name)}"
    if {"sparsity", "values"} & todo.keys():
        found = sparsity(space.space)
        if "sparsity" in todo:
            yield options.save(plot_sparsity(found, title), todo["sparsity"], shared)
        if "values" in todo:
            content = {"image": path.name, "model": name, **asdict(found), "settings": shared}
            write_json(todo["values"], content, options.overwrite)
            yield todo["values"]
    if "comparison" in todo:
        height, width = picture.size
        lr = Panel("LR", picture)
        enlarged = Panel("bicubic", bicubic(picture, (model.scale * height, model.scale * width)))
        panels = [enlarged, lr] if truth is None else [Panel("ground truth", truth), lr, enlarged]
        if space.space.is_gaussian:
            panels.append(Panel("mean", space.mean()[0]))
        drawn = space.samples(options.samples, options.seed)
        panels += [Panel(f"sample {i}", sample) for i, (sample, _) in enumerate(drawn)]
        yield options.compare(panels, model.scale, title, todo["comparison"], settings["comparison"])
    if "atoms" in todo:
        yield options.save(plot_basis(basis(space.space), title), todo["atoms"], shared)


def figures_of_reports(
    folders: Sequence[Path], options: FigureOptions, progress: Callable[[str], None] = lambda _: None
) -> Iterator[Path]:
    """Compare several reports, on every image that has pictures in all of them; yields each file when it is written.

    Files of the same settings are kept unless ``options.overwrite``.

    Args:
        folders: of `vspsr evaluate`, of one scale and the same images; the ground truth is that of the first.
        options: boxes, suffix, folder.
        progress: called with the stem of each image.

    Raises:
        ReportError: no finished report, or no image with pictures in all of them.
        OutputError: files exist that were made with other settings.
        ValueError: reports of several scales, or a crop outside an image.
    """
    reports = read_reports(folders)
    by_stem = [{r.stem: r for r in report.records if {"gt", "s00"} <= set(report.pictures(r))} for report in reports]
    stems = [stem for stem in by_stem[0] if all(stem in images for images in by_stem)]
    if not stems:
        raise ReportError(f"{folders[0]}: no image has pictures in all reports")
    for stem in stems:
        progress(stem)
        chosen = [(report, images[stem]) for report, images in zip(reports, by_stem, strict=True)]
        first = reports[0].pictures(by_stem[0][stem])
        references = [first[kind] for kind in ("gt", "lr") if kind in first]
        samples = [report.pictures(record)["s00"] for report, record in chosen]
        texts = [(printable(report.name), _figures(report, record)) for report, record in chosen]
        settings: dict[str, Any] = {"pictures_sha256": [sha256_of(file) for file in (*references, *samples)]}
        settings |= {"reports": [list(text) for text in texts], "crop": options.crop}
        if options.is_kept(path := options.path(stem, "comparison"), settings):
            continue
        panels = [Panel(head, read_image(file)) for head, file in zip(("ground truth", "LR"), references, strict=False)]
        panels += [Panel(head, read_image(file), text) for (head, text), file in zip(texts, samples, strict=True)]
        yield options.compare(panels, reports[0].scale, printable(stem), path, settings)


def _figures(report: ReportFolder, record: ImageRecord) -> str:
    """Those of sample 0, in two lines."""
    sample = record.samples[0]
    return f"{report.backend} {number(sample.distance, 3)}\nLR-PSNR {number(sample.lr_psnr, 1)} dB"
