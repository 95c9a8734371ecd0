"""Figures: what is measured of the coefficients, where crops lie, what files come out."""

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
import typer
from PIL import Image
from report_folders import record, small_report, write_folder
from typer.testing import CliRunner

from vspsr.cli.figures import figures
from vspsr.degradation.operator import Degradation
from vspsr.errors import OutputError, VSpSRError
from vspsr.images.colours import to_srgb
from vspsr.images.picture import Picture
from vspsr.model import VSpSR
from vspsr.report.coefficients import Basis, basis, sparsity
from vspsr.report.figures import Panel, busiest_boxes, plot_basis, plot_comparison, plot_sparsity
from vspsr.report.figures import _densities as densities
from vspsr.report.plotting import INK, inline_svg, save_figure, style
from vspsr.space.parameters import SpaceParameters
from vspsr.space.sr_space import SRSpace
from vspsr.space.synthesis import synthesize
from vspsr.upscaling import PictureSpace


def small_model(network: str = "overlapping", seed: int = 0) -> VSpSR:
    torch.manual_seed(seed)
    small = {
        "overlapping": {"n_atoms": 6, "channels": 8, "blocks": 1},
        "correlated": {"n_atoms": 6, "channels": 8, "blocks": 1, "noise_channels": 4},
        "vspm": {"n_atoms": 8, "convolutions": False},
    }
    return VSpSR(network, {"scale": 4, **small[network]}, temperature=0.5)


def space_of(network: str = "overlapping", size: tuple[int, int] = (16, 20)) -> SRSpace:
    with torch.no_grad():
        return small_model(network)(torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)))


def made_space(mean: torch.Tensor | None, sigma: torch.Tensor, atoms: torch.Tensor) -> SRSpace:
    """A space of these coefficients (C, h, w) and atoms (C, 3, 4, 4) at x4."""
    h, w = sigma.shape[1:]
    parameters = SpaceParameters(
        deterministic=torch.zeros(1, 3, 4 * h, 4 * w),
        atoms=atoms[None, None],
        coefficient_mean=None if mean is None else mean[None, None],
        coefficient_log_var=2 * sigma.log()[None, None],
    )
    return SRSpace(torch.zeros(1, 3, h, w), parameters, Degradation(4))


@pytest.mark.parametrize("network", ["overlapping", "vspm"])
def test_sparsity_counts_every_coefficient(network: str) -> None:
    space = space_of(network)
    p = space.parameters
    assert p.coefficient_log_var is not None
    sigma = 0.5 * (0.5 * p.coefficient_log_var[0]).exp().numpy().ravel()
    found = sparsity(space)
    spread = next(q for q in found.quantities if q.label.startswith("standard"))
    assert sum(spread.counts) == sigma.size
    assert spread.median == pytest.approx(np.median(sigma), rel=1e-5)
    for threshold, share in spread.below.items():
        assert share == pytest.approx((sigma < threshold).mean(), abs=1e-6)
    counts = np.histogram(np.clip(sigma, spread.edges[0] * (1 + 1e-9), None), spread.edges)[0]
    assert np.abs(counts - spread.counts).sum() <= 4  # float32 against float64 at the edges
    assert len(found.quantities) == (3 if network == "vspm" else 2)
    assert 1 <= found.effective_atoms <= found.n_atoms


def test_correlated_coefficients_are_measured_by_their_own_variance() -> None:
    """Against the rows of the dense map from white noise to coefficients."""
    space = space_of("correlated", (5, 6))
    synthesis = space.parameters.synthesis(4)
    assert synthesis is not None
    noise = torch.eye(4 * 5 * 6).view(-1, 4, 5, 6)
    columns = torch.stack([synthesis.noise.coefficients(eps[None])[0].detach() for eps in noise])
    sigma = 0.5 * columns.square().sum(0).sqrt()  # at temperature 0.5
    gain = 255 * space.parameters.atoms[0].detach().square().mean((2, 3, 4)).sqrt()[..., None, None]
    of_coefficients, contributions = sparsity(space).quantities
    assert of_coefficients.median == pytest.approx(float(sigma.median()), rel=0.05)
    assert contributions.median == pytest.approx(float((gain * sigma).median()), rel=0.05)
    assert sparsity(space) == sparsity(space)
    estimated, drawn = basis(space).sigma, sigma.double()
    assert estimated is not None
    assert torch.allclose(estimated.sort(1).values, drawn.sort(1).values, rtol=0.4)  # 7 % each, 180 of them


def test_a_contribution_is_what_the_atom_adds_to_the_image() -> None:
    """√(m² + σ²) · rms(atom) in levels against the root mean square of 20,000 patches drawn."""
    torch.manual_seed(0)
    atoms, mean, sigma = torch.randn(1, 3, 4, 4), torch.tensor([[[0.03]]]), torch.tensor([[[0.05]]])
    found = sparsity(made_space(mean, sigma, atoms)).quantities[-1]
    drawn = mean + sigma * torch.randn(20_000, 1, 1, 1, 1)
    patches = synthesize(drawn, atoms[None, None].expand(20_000, 1, 1, 3, 4, 4), 4)
    assert found.unit == "levels"
    assert found.median == pytest.approx(255 * float(patches.square().mean().sqrt()), rel=0.02)


def test_contributions_do_not_depend_on_how_atoms_are_scaled() -> None:
    torch.manual_seed(0)
    atoms, mean, sigma = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4), torch.rand(5, 3, 4) + 0.1
    factor = torch.tensor([0.1, 0.5, 2.0, 8.0, 30.0])[:, None, None]
    a = sparsity(made_space(mean, sigma, atoms))
    b = sparsity(made_space(mean / factor, sigma / factor, atoms * factor[..., None]))
    assert a.quantities[-1].median == pytest.approx(b.quantities[-1].median, rel=1e-5)
    assert a.effective_atoms == pytest.approx(b.effective_atoms, rel=1e-5)
    assert a.quantities[0].median != pytest.approx(b.quantities[0].median, rel=0.1)


def test_effective_atoms_at_its_ends() -> None:
    same = torch.ones(7, 3, 4, 4)
    assert sparsity(made_space(None, torch.ones(7, 2, 2), same)).effective_atoms == pytest.approx(7)
    one = torch.full((7, 2, 2), 1e-9)
    one[3] = 1.0
    assert sparsity(made_space(None, one, same)).effective_atoms == pytest.approx(1)


def test_a_space_without_coefficients_is_refused() -> None:
    p = space_of().parameters
    bare = SpaceParameters(p.deterministic, p.atoms, None, None)
    with pytest.raises(ValueError, match="nothing to measure"):
        sparsity(SRSpace(torch.zeros(1, 3, 16, 20), bare, Degradation(4)))


@pytest.mark.parametrize("network", ["overlapping", "vspm"])
def test_the_basis_is_ordered_by_energy(network: str) -> None:
    space = space_of(network)
    found = basis(space)
    assert found.atoms.shape == space.parameters.atoms.shape[1:]
    assert torch.allclose(found.shares.sum(1), torch.ones(len(found.shares), dtype=torch.float64))
    assert (found.shares.diff(dim=1) <= 0).all()
    original = {tuple(a.flatten().tolist()) for a in space.parameters.atoms[0].flatten(0, 1)}
    assert {tuple(a.flatten().tolist()) for a in found.atoms.flatten(0, 1)} == original
    # The strongest atom's share, of its own group, computed directly.
    assert found.sigma is not None
    moment = found.sigma**2 if found.mean is None else found.sigma**2 + found.mean**2
    energy = moment.mean((2, 3)) * found.atoms.double().square().sum((2, 3, 4))
    assert torch.allclose(energy / energy.sum(1, keepdim=True), found.shares)


def test_the_density_over_the_image_is_that_of_drawn_coefficients() -> None:
    torch.manual_seed(0)
    mean, sigma = 0.3 * torch.randn(1, 30, 40), 0.1 + 0.4 * torch.rand(1, 30, 40)
    x, density, gaussian = next(densities(basis(made_space(mean, sigma, torch.ones(1, 3, 4, 4)))))
    assert np.trapezoid(density, x) == pytest.approx(1, abs=2e-3)
    assert np.trapezoid(gaussian, x) == pytest.approx(1, abs=2e-3)
    drawn = (mean + sigma * torch.randn(400, 30, 40)).numpy().ravel()
    step = x[1] - x[0]
    counts = np.histogram(drawn, np.append(x - step / 2, x[-1] + step / 2))[0] / (drawn.size * step)
    assert np.abs(counts - density).max() < 0.03 * density.max()


def picture(height: int, width: int, seed: int = 0) -> Picture:
    generator = torch.Generator().manual_seed(seed)
    return Picture(torch.randint(0, 256, (3, height, width), dtype=torch.int32, generator=generator))


def test_boxes_lie_where_the_panels_differ_most() -> None:
    a, b = picture(40, 60).pixels, picture(40, 60).pixels.clone()
    b[:, 20:28, 30:38] = 255 - b[:, 20:28, 30:38]
    b[:, 2:6, 50:54] = 255 - b[:, 2:6, 50:54]
    boxes = busiest_boxes([Panel("a", Picture(a)), Panel("lr", picture(10, 15)), Panel("b", Picture(b))], 8, 3)
    assert boxes[0] == (30, 20, 8)
    left, top, side = boxes[1]
    assert left <= 50
    assert left + side >= 54
    assert top <= 2
    assert top + side >= 6
    for i, (x, y, s) in enumerate(boxes):
        assert 0 <= x <= 60 - s
        assert 0 <= y <= 40 - s
        for u, v, t in boxes[:i]:
            assert x + s <= u or u + t <= x or y + s <= v or v + t <= y  # no overlap


def test_boxes_of_an_image_smaller_than_they_are() -> None:
    assert busiest_boxes([Panel("a", picture(5, 9))], 64) == [(b, 0, 5) for b in [busiest_left()]]


def busiest_left() -> int:
    """By brute force: the 5×5 square of the 5×9 picture with the largest gradients."""
    rows, columns = np.gradient(picture(5, 9).to_float()[0].mean(0).double().numpy())
    levels = np.abs(rows) + np.abs(columns)
    return max(range(5), key=lambda x: levels[:, x : x + 5].sum())


def test_crops_of_all_panels_show_the_same_region() -> None:
    panels = [Panel("truth", picture(32, 48)), Panel("LR", picture(8, 12), "below"), Panel("grey", grey(32, 48))]
    figure = plot_comparison(panels, [(8, 4, 16), (24, 16, 8)], "title")
    whole, *cells = figure.axes
    assert len(cells) == 6
    assert [tuple(p.get_xy()) for p in whole.patches] == [(8, 4), (24, 16)]
    assert cells[0].get_xlim() == (7.5, 23.5)
    assert cells[0].get_ylim() == (19.5, 3.5)
    assert cells[1].get_xlim() == (1.5, 5.5)  # the LR pixels 2 … 5
    assert cells[1].get_ylim() == (4.5, 0.5)
    assert cells[1].get_images()[0].get_interpolation() == "nearest"
    assert [c.get_title() for c in cells[:3]] == ["truth", "LR", "grey"]
    assert cells[1].get_xlabel() == "below"
    assert np.array_equal(cells[0].get_images()[0].get_array(), panels[0].picture.to_float()[0].permute(1, 2, 0))


def test_pictures_with_a_profile_are_drawn_in_srgb() -> None:
    given = replace(picture(32, 32), metadata={"icc-profile-data": bytes(pyvips.Image.profile_load("p3"))})
    drawn = plot_comparison([Panel("a", given)], [(8, 4, 16)]).axes[0].get_images()[0].get_array()
    assert np.array_equal(drawn, to_srgb(given).to_float()[0].permute(1, 2, 0))
    assert not np.array_equal(drawn, given.to_float()[0].permute(1, 2, 0))


def grey(height: int, width: int) -> Picture:
    return Picture(picture(height, width).pixels[:1].contiguous())


@pytest.mark.parametrize("box", [(-1, 0, 4), (0, 0, 0), (30, 0, 4), (0, 29, 4)])
def test_a_box_outside_the_picture_is_refused(box: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=re.escape(",".join(map(str, box)))):
        plot_comparison([Panel("a", picture(32, 32))], [box])
    with pytest.raises(ValueError, match="empty"):
        plot_comparison([], [box])


def test_files_come_into_being_whole_or_not_at_all(tmp_path: Path) -> None:
    figure = plot_sparsity(sparsity(space_of()), "t")
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        path = tmp_path / f"a.{suffix}"
        save_figure(figure, path)
        first = path.read_bytes()
        assert first.startswith(start)
        with pytest.raises(OutputError, match="exists"):
            save_figure(figure, path)
        save_figure(plot_sparsity(sparsity(space_of()), "t"), path, overwrite=True)
        assert path.read_bytes() == first  # no date, no random identifier
    with pytest.raises(OutputError, match="unknown suffix"):
        save_figure(figure, tmp_path / "a.gif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg"]


def test_an_inline_svg_is_well_formed_and_takes_the_pages_colours() -> None:
    with style(**{"text.color": INK, "axes.edgecolor": INK}):
        from matplotlib.figure import Figure

        figure = Figure()
        figure.add_subplot().plot([1, 2], [3, 4], color="#010205", marker="o")
        text = inline_svg(figure, "my-plot", 'two "points" & <more>')
    root = ET.fromstring(text)
    assert root.get("aria-label") == 'two "points" & <more>'
    identifiers = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert all(i and i.startswith("my-plot-") for i in identifiers)
    references = re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text)
    assert set(references) <= set(identifiers)
    assert "var(--series-1)" in text
    assert "currentColor" in text


@pytest.fixture
def run() -> object:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(figures)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    small_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def write_png(path: Path, height: int, width: int) -> Path:
    Image.fromarray(picture(height, width).pixels.permute(1, 2, 0).byte().numpy()).save(path)
    return path


def test_the_command_draws_every_figure(run, model_folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_png(tmp_path / "photo.png", 70, 65)
    out = tmp_path / "figures"
    command = tmp_path / "photo.png", "--hr", "-o", out, "--model", model_folder, "--samples", 1, "--crop", "0,0,16"
    result = run(*command)
    assert result.exit_code == 0, result.output
    names = ["photo_atoms.png", "photo_comparison.png", "photo_sparsity.json", "photo_sparsity.png"]
    assert sorted(p.name for p in out.iterdir()) == names
    content = json.loads((out / "photo_sparsity.json").read_text())
    assert content["n_atoms"] == 6
    assert sum(content["quantities"][0]["counts"]) == 6 * 17 * 16  # HR is cut to 68×64
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "photo_atoms.png").unlink()
    again = run(*command)
    assert again.exit_code == 0
    assert "1 file written" in again.output
    changed = {path.name for path in out.iterdir() if before[path] != path.stat().st_mtime_ns}
    assert changed == {"photo_atoms.png"}
    more = run(tmp_path / "photo.png", "-o", out, "--model", model_folder, "--figure", "atoms", "--overwrite")
    assert "1 file written" in more.output
    outside = run(tmp_path / "photo.png", "--hr", "-o", tmp_path / "b", "--model", model_folder, "--crop", "64,1,16")
    assert outside.exit_code == 1
    assert "photo.png: crop 64,1,16 does not lie inside 64×68 pixels" in outside.output
    assert "2 files written" in outside.output  # those before the comparison


CHANGES: list[tuple[list[object], str]] = [
    (["--model", "other"], "with model = '{}/model', not '{}/other'"),
    (["--hr"], "with hr = False, not True"),
    (["--crop", "8,8,16"], "with crop = [[0, 0, 16]], not [[8, 8, 16]]"),
    (["--samples", 2], "with samples = 1, not 2"),
    (["--seed", 7], "with seed = 0, not 7"),
]


def without_search(_: PictureSpace, x: torch.Tensor) -> tuple[Picture, None]:
    """Rounded only: the search for integers takes long for models that are not trained."""
    return Picture((255 * x.detach()).round().clamp(0, 255).int().reshape(3, *x.shape[-2:])), None


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_of_other_settings_are_not_taken_for_those_wanted(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept and the command fails; with --overwrite they are replaced."""
    monkeypatch.setattr(PictureSpace, "to_picture", without_search)
    photo, out = write_png(tmp_path / "photo.png", 16, 16), tmp_path / "out"
    for name, seed in (("model", 0), ("other", 1)):
        torch.manual_seed(seed)
        small_model().save_pretrained(tmp_path / name)

    def draw(*changes: object) -> tuple[int, str]:
        options = {"--model": "model", "--crop": "0,0,16", "--samples": 1, "--format": suffix, "-o": out}
        flags = [c for c in changes if c in ("--hr", "--overwrite")]
        values = [c for c in changes if c not in flags]
        options |= dict(zip(values[::2], values[1::2], strict=True))  # type: ignore[arg-type]
        options["--model"] = tmp_path / str(options["--model"])
        result = run(photo, *(part for option in options.items() for part in option), *flags)
        return result.exit_code, result.output

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in out.iterdir()}

    assert draw()[0] == 0
    before = contents()
    assert draw()[0] == 0
    for changes, told in CHANGES:
        code, output = draw(*changes)
        assert code == 2, changes
        assert told.format(tmp_path, tmp_path) in output.replace("\n", "")
        assert "use --overwrite" in output
        assert contents() == before
    write_png(photo, 16, 17)
    assert "from other pictures" in draw()[1]
    write_png(photo, 16, 16)
    small_model("correlated").save_pretrained(tmp_path / "model")
    assert "another model of this name" in draw()[1]
    assert contents() == before
    assert draw("--model", "other", "--overwrite", "--figure", "atoms")[0] == 0
    assert {name for name, content in contents().items() if content != before[name]} == {f"photo_atoms.{suffix}"}
    assert draw("--model", "other", "--figure", "atoms", "--seed", 3)[0] == 0  # atoms do not depend on it


@pytest.mark.parametrize(
    "name", ["photo_atoms.png", "photo_comparison.png", "photo_sparsity.png", "photo_sparsity.json"]
)
def test_a_file_that_does_not_say_how_it_was_made_is_not_kept_as_a_figure(  # type: ignore[no-untyped-def]
    run, model_folder: Path, tmp_path: Path, name: str
) -> None:
    photo, out = write_png(tmp_path / "photo.png", 16, 16), tmp_path / "out"
    out.mkdir()
    for content in (b"", b"vspsr-settings:%7B;", b"{}", b"vspsr-settings:1;", b"[]"):
        (out / name).write_bytes(content)
        result = run(photo, "-o", out, "--model", model_folder)
        assert result.exit_code == 2
        assert name in result.output
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_bytes() == content


def test_comparisons_of_other_reports_are_not_taken_for_those_wanted(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a, b = small_report(tmp_path / "a", 2), small_report(tmp_path / "b", 2, name="b")
    command = a, b, "-o", tmp_path / "out", "--crop"
    assert "2 files written" in run(*command, "8,8,16").output
    assert "0 files written" in run(*command, "8,8,16").output
    assert "crop = [[8, 8, 16]], not [[0, 8, 16]]" in str(run(*command, "0,8,16").exception)
    assert "exists, made" in str(run(a, *command[2:], "8,8,16").exception)
    for record_file in (b / "images").glob("*.json"):
        record_file.write_text(record_file.read_text().replace('"distance": 0.1', '"distance": 0.2'))
    assert "reports = " in str(run(*command, "8,8,16").exception)


def test_a_model_of_correlated_coefficients_is_drawn(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    small_model("correlated").save_pretrained(tmp_path / "model")
    photo = write_png(tmp_path / "photo.png", 16, 16)
    kinds = "--figure", "sparsity", "--figure", "atoms"  # the comparison of an untrained model takes minutes
    result = run(photo, "-o", tmp_path / "out", "--model", tmp_path / "model", *kinds)
    assert result.exit_code == 0, result.output
    names = ["photo_atoms.png", "photo_sparsity.json", "photo_sparsity.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_a_bad_image_is_told_and_the_others_are_drawn(run, model_folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / "good.png", 16, 16)
    (tmp_path / "in" / "bad.png").write_text("no image")
    out = tmp_path / "out"
    result = run(tmp_path / "in", "-o", out, "--model", model_folder, "--figure", "atoms", "--format", "svg")
    assert result.exit_code == 1
    assert "bad.png" in result.output
    assert [p.name for p in out.iterdir()] == ["good_atoms.svg"]


def test_two_images_of_one_stem_are_not_confused(run, model_folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_png(tmp_path / name / "x.png", 16, 16)
    images = tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"
    result = run(*images, "-o", tmp_path / "out", "--model", model_folder, "--figure", "atoms")
    assert result.exit_code == 1
    assert f"b/x.png: its outputs would be named as those of {images[0]}" in result.output
    assert "1 file written" in result.output


def test_reports_are_compared_on_the_images_they_share(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a = small_report(tmp_path / "a", 2)
    b = write_folder(tmp_path / "b", [record("zebra", n=1, height=56, width=40)], 1, {"name": "b"})
    out = tmp_path / "out"
    result = run(a, b, "-o", out, "--crop", "8,8,16")
    assert result.exit_code == 0, result.output
    assert [p.name for p in out.iterdir()] == ["zebra_comparison.png"]
    width, height = Image.open(out / "zebra_comparison.png").size
    assert width > height > 200


def test_what_cannot_be_drawn_is_one_line(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a, b = small_report(tmp_path / "a", 0), small_report(tmp_path / "b", 0, scale=8)
    write_png(tmp_path / "photo.png", 16, 16)
    for arguments, told in (
        ((a,), "no image has pictures in all reports"),
        ((a, b), "evaluated at x8"),
        ((a, tmp_path / "photo.png"), "cannot be mixed"),
        ((a, "--figure", "atoms"), "hold pictures only"),
        ((tmp_path / "photo.png", "--crop", "1,2"), "LEFT,TOP,SIDE"),
    ):
        error = run(*arguments, "-o", tmp_path / "out").exception
        assert isinstance(error, (VSpSRError, ValueError)), arguments
        assert told in str(error)
        assert "\n" not in str(error)


def test_help_has_an_example(run) -> None:  # type: ignore[no-untyped-def]
    assert "vspsr figures photo.png" in re.sub(r"\s+", " ", run("--help").output)


def test_atoms_are_drawn_each_to_its_own_maximum() -> None:
    found = basis(space_of("vspm"))
    figure = plot_basis(found, "t")
    assert len(figure.axes) == 4  # red, green, blue, densities
    shown = np.asarray(figure.axes[0].get_images()[0].get_array())
    k = found.atoms.shape[-1]
    first = found.atoms[0, 0, 0].detach().numpy()
    assert np.allclose(shown[:k, :k], 0.5 + 0.5 * first / np.abs(first).max(), atol=1e-6)
    columns = math.ceil(math.sqrt(found.atoms.shape[1]))
    assert shown.shape[1] == columns * (k + 1)
    assert isinstance(found, Basis)
