"""Training data: layouts, pairs, crops as a pure function of (seed, step, index), the cache."""

import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.filters import unsharp_mask

from vspsr.data.augment import extent, recoloured, rotated, sharpened, unsharp_masked
from vspsr.data.cache import ImageCache, read_rgb
from vspsr.data.crops import Batch, CropDataset, StepSampler, crop_loader
from vspsr.data.files import ImagePair, find_images
from vspsr.degradation.operator import Degradation
from vspsr.errors import ImageFileError


def write(path: Path, height: int = 48, width: int = 64, seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(7):
        write(tmp_path / "photos" / f"{i}.png", 48 + 4 * i, 64, seed=i)
    return tmp_path / "photos"


def dataset(folder: Path, seed: int = 3, memory: int = 10**9) -> CropDataset:
    return CropDataset(find_images(folder, 4, 8, holdout=0).train, Degradation(4), seed, memory)


def batches(data: CropDataset, workers: int = 0, **kwargs: int) -> list[Batch]:
    return list(crop_loader(data, StepSampler([(4, 8)] * 6, **kwargs), workers, pin_memory=False))  # type: ignore[arg-type]


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(torch.equal(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in x)


def variation(image: torch.Tensor) -> int:
    """Sum of the absolute differences of neighbouring pixels."""
    return sum(int(image.short().diff(dim=axis).abs().sum()) for axis in (1, 2))


class TestFiles:
    def test_a_folder_keeps_every_twentieth_for_validation(self, photos: Path) -> None:
        write(photos / "sub" / "x.jpg")
        found = find_images(photos, 4, 8)
        assert [p.hr.name for p in found.val] == ["x.jpg"]
        assert len(found.train) == 7
        assert found.train[2].size == (56, 64)

    def test_manifest(self, photos: Path) -> None:
        rows = [f"{i}.png,{'val' if i == 2 else 'test' if i == 3 else 'train'}" for i in range(7)]
        (photos / "manifest.csv").write_text("\n".join(["file,split", *rows]))
        found = find_images(photos, 4, 8)
        assert [p.hr.stem for p in found.train] == ["0", "1", "4", "5", "6"]
        assert [p.hr.stem for p in found.val] == ["2"]

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_manifest_of_any_editor(self, photos: Path, mark: str, end: str) -> None:
        text = mark + end.join(["file,split", "0.png,train", '"1.png",val', ""])
        (photos / "manifest.csv").write_bytes(text.encode())
        found = find_images(photos, 4, 8)
        assert ([p.hr.name for p in found.train], [p.hr.name for p in found.val]) == (["0.png"], ["1.png"])

    @pytest.mark.parametrize(
        "text", [b"file,split\n0.png\n", b'file,split\n"' + b"x" * 200_000, b"caf\xe9", b"\xff\xfef\0"]
    )
    def test_spoiled_manifests_are_named(self, photos: Path, text: bytes) -> None:
        (photos / "manifest.csv").write_bytes(text)
        with pytest.raises(ImageFileError, match=r"manifest\.csv: "):
            find_images(photos, 4, 8)

    def test_images_of_all_suffixes_and_behind_links(self, photos: Path, tmp_path: Path) -> None:
        whole = find_images(photos, 4, 8)
        (tmp_path / "links").mkdir()
        (tmp_path / "links" / "set").symlink_to(photos)
        assert [p.hr.name for p in find_images(tmp_path / "links", 4, 8).train] == [p.hr.name for p in whole.train]
        write(photos / "a.png").rename(photos / "a.JPE")
        (photos / "._a.png").write_bytes(b"Mac OS X")
        found = find_images(photos, 4, 8, holdout=0)
        assert [p.hr.name for p in found.train] == [*(f"{i}.png" for i in range(7)), "a.JPE"]
        assert found.problems == []

    def test_names_match_however_they_are_composed(self, tmp_path: Path) -> None:
        for folder, form in (("hr", "NFC"), ("lr", "NFD")):
            size = 48 if folder == "hr" else 12
            write(tmp_path / folder / (unicodedata.normalize(form, "Grün") + ".png"), size, size)
        (found,) = find_images(tmp_path / "hr", 4, 8, lr_folder=tmp_path / "lr").train
        assert found.lr is not None

    def test_a_picture_beyond_the_limits_of_other_libraries(self, photos: Path) -> None:
        Image.new("1", (14000, 13000)).save(photos / "x.png")
        found = find_images(photos, 4, 8)
        assert (photos / "x.png", (13000, 14000)) in [(p.hr, p.size) for p in found.train]
        assert [p.hr.name for p in found.val] == ["6.png"]  # whole images are validated on: not the largest
        (photos / "manifest.csv").write_text("file,split\n0.png,train\nx.png,val\n")
        found = find_images(photos, 4, 8)
        assert found.val == []
        assert "x.png: 13000×14000 pixels" in found.problems[0]

    def test_manifest_without_a_split(self, photos: Path) -> None:
        (photos / "manifest.csv").write_text("file\n0.png\n")
        with pytest.raises(ImageFileError, match="column `split` is missing"):
            find_images(photos, 4, 8)

    @pytest.mark.parametrize(
        ("hr", "lr", "ending"),
        [
            ("DIV2K-tr_1X", "DIV2K-tr_4X", ""),
            ("DIV2K_train_HR", "DIV2K_train_LR_bicubic/X4", "x4"),
        ],
    )
    def test_published_layouts(self, tmp_path: Path, hr: str, lr: str, ending: str) -> None:
        for i in range(3):
            write(tmp_path / hr / f"{i:04d}.png", 50, 64)
            write(tmp_path / lr / f"{i:04d}{ending}.png", 13, 16)
        write(tmp_path / hr.replace("-tr", "-va").replace("train", "valid") / "0801.png")
        found = find_images(tmp_path, 4, 8)
        assert [(p.hr.stem, p.lr and p.lr.stem) for p in found.train] == [
            (f"{i:04d}", f"{i:04d}{ending}") for i in range(3)
        ]
        assert [(p.hr.stem, p.lr) for p in found.val] == [("0801", None)]

    def test_pairs_are_matched_by_stem_not_order(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            write(tmp_path / "hr" / f"{name}.png")
        for name in ("a", "c", "d"):
            write(tmp_path / "lr" / f"{name}x4.png", 12, 16)
        with pytest.raises(ImageFileError, match=r"b\.png: no LR image b\* or bx4\*"):
            find_images(tmp_path / "hr", 4, 8, lr_folder=tmp_path / "lr")
        (tmp_path / "hr" / "b.png").unlink()
        with pytest.raises(ImageFileError, match=r"dx4\.png: no HR image d\*"):
            find_images(tmp_path / "hr", 4, 8, lr_folder=tmp_path / "lr")

    def test_sizes_that_do_not_fit_name_both_files(self, tmp_path: Path) -> None:
        write(tmp_path / "hr" / "a.png", 48, 64)
        write(tmp_path / "lr" / "a.png", 12, 15)
        with pytest.raises(ImageFileError, match=r"lr/a\.png: 12×15 pixels are not .*hr/a\.png \(48×64\)"):
            find_images(tmp_path / "hr", 4, 8, lr_folder=tmp_path / "lr")

    def test_corrupt_files_are_left_out_and_told(self, photos: Path) -> None:
        (photos / "3.png").write_bytes(b"no image")
        write(photos / "tiny.png", 20, 20)
        found = find_images(photos, 4, 8, holdout=0)
        assert len(found.train) == 6
        assert "3.png" in found.problems[0]
        assert "tiny.png: 20×20 pixels are fewer than a crop of 32×32" in found.problems[1]

    def test_a_folder_of_corrupt_images(self, tmp_path: Path) -> None:
        for i in range(3):
            (tmp_path / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
        with pytest.raises(ImageFileError, match=r"no image to train on; first problem: .*0\.png"):
            find_images(tmp_path, 4, 8)
        with pytest.raises(ImageFileError, match="no such folder"):
            find_images(tmp_path / "none", 4, 8)

    def test_size_is_upright(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (30, 20))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.jpg", exif=exif)
        (found,) = find_images(tmp_path, 1, 1, holdout=0).train
        assert found.size == read_rgb(tmp_path / "turned.jpg").shape[1:] == (30, 20)


class TestCrops:
    def test_pure_function_of_seed_step_and_index(self, photos: Path) -> None:
        whole = batches(dataset(photos))
        assert same(batches(dataset(photos)), whole)
        assert same(batches(dataset(photos, memory=0)), whole)
        assert same(batches(dataset(photos), start=4), whole[4:])
        assert not same(batches(dataset(photos, seed=4)), whole)

    def test_workers_change_nothing(self, photos: Path) -> None:
        data = CropDataset(
            dataset(photos).pairs, Degradation(4), 3, 10**9, shrink=2.0, rotate=True, colour=1.0, sharpen=1
        )
        assert same(batches(data, workers=2), batches(data))

    def test_two_processes_share_one_larger_batch(self, photos: Path) -> None:
        data = dataset(photos)
        one = list(crop_loader(data, StepSampler([(8, 8)] * 6), 0, False))
        two = [batches(data, rank=r, world=2) for r in range(2)]
        for step, whole in enumerate(one):
            assert torch.equal(torch.cat([two[0][step]["hr"], two[1][step]["hr"]]), whole["hr"])  # type: ignore[call-overload]
        assert [int(b["first"]) for b in two[1]] == [4] * 6

    def test_every_image_once_per_pass(self, photos: Path) -> None:
        order = [int(dataset(photos)._order(e)[i]) for e in range(2) for i in range(7)]
        assert sorted(order[:7]) == sorted(order[7:]) == list(range(7))
        assert order[:7] != order[7:]

    def test_lr_is_the_degraded_crop(self, photos: Path) -> None:
        batch = batches(dataset(photos))[0]
        assert torch.equal(batch["lr"], Degradation(4).down_uint8(batch["hr"]))
        assert batch["hr"].shape == (4, 3, 32, 32)

    def test_shrunk_crops_show_more_ground(self, tmp_path: Path) -> None:
        """On a ramp a crop's slope tells the factor: 1 for about half of them, up to the largest for the others."""
        ramp = np.arange(128, dtype=np.uint8)[None, :, None].repeat(128, 0).repeat(3, 2)
        Image.fromarray(ramp).save(tmp_path / "ramp.png")
        pairs = find_images(tmp_path, 4, 8, holdout=0).train
        data = CropDataset(pairs, Degradation(4), 0, 10**9, augment=False, shrink=2.0)
        hr = torch.cat([b["hr"] for b in crop_loader(data, StepSampler([(8, 8)] * 25), 0, False)])[:, 0, 16].float()
        assert hr.shape == (200, 32)
        slopes = (hr[:, 28] - hr[:, 4]) / 24
        assert 80 < int((slopes == 1).sum()) < 130
        assert float(slopes.min()) >= 0.95
        assert 1.8 < float(slopes.max()) < 2.1

    def test_shrinking_stays_a_pure_function(self, photos: Path) -> None:
        pairs = find_images(photos, 4, 8, holdout=0).train
        shrunk = CropDataset(pairs, Degradation(4), 3, 10**9, shrink=2.0)
        assert same(batches(shrunk), batches(shrunk))
        assert same(batches(shrunk, start=4), batches(shrunk)[4:])
        assert same(batches(CropDataset(pairs, Degradation(4), 3, 10**9, shrink=1.0)), batches(dataset(photos)))

    def test_rotated_crops_lie_at_any_angle(self, tmp_path: Path) -> None:
        """On a ramp the direction of a crop's slope tells its angle: upright where it is not made smaller."""
        ramp = np.arange(128, dtype=np.uint8)[None, :, None].repeat(128, 0).repeat(3, 2)
        Image.fromarray(ramp).save(tmp_path / "ramp.png")
        pairs = find_images(tmp_path, 4, 8, holdout=0).train
        data = CropDataset(pairs, Degradation(4), 0, 10**9, augment=False, shrink=2.0, rotate=True)
        hr = torch.cat([b["hr"] for b in crop_loader(data, StepSampler([(8, 8)] * 25), 0, False)])[:, 0].float()
        across, down = hr[:, 16, 28] - hr[:, 16, 4], hr[:, 28, 16] - hr[:, 4, 16]
        angles, slopes = torch.atan2(down, across).rad2deg(), (across**2 + down**2).sqrt() / 24
        turned = angles.abs() > 3
        assert 40 < int(turned.sum()) < 90  # a half is made smaller, two thirds of that by a quarter or more
        assert float(slopes[turned].min()) > 1.15
        assert 35 < float(angles.abs().max()) < 47
        assert float(slopes.max()) < 2.1

    def test_colours_change_and_structure_stays(self, photos: Path) -> None:
        pairs = find_images(photos, 4, 8, holdout=0).train
        plain, changed = dataset(photos), CropDataset(pairs, Degradation(4), 3, 10**9, colour=1.0)
        for a, b in zip(batches(plain), batches(changed), strict=True):
            assert torch.equal(b["lr"], Degradation(4).down_uint8(b["hr"]))
            for x, y in zip(a["hr"].float(), b["hr"].float(), strict=True):
                assert not torch.equal(x, y)
                assert float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]) > 0.8

    def test_rotation_and_colour_stay_a_pure_function(self, photos: Path) -> None:
        pairs = find_images(photos, 4, 8, holdout=0).train
        varied = CropDataset(pairs, Degradation(4), 3, 10**9, shrink=2.0, rotate=True, colour=1.0)
        assert same(batches(varied, start=4), batches(varied)[4:])

    def test_paired_crops_cover_the_same_ground(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        for folder, image in (("lr", small), ("hr", small.repeat(4, 0).repeat(4, 1))):
            (tmp_path / folder).mkdir()
            Image.fromarray(image).save(tmp_path / folder / "a.png")
        pairs = find_images(tmp_path / "hr", 4, 8, lr_folder=tmp_path / "lr").train
        for batch in batches(CropDataset(pairs, Degradation(4), 0, 10**6)):
            assert torch.equal(batch["hr"][..., ::4, ::4], batch["lr"])
            assert torch.equal(batch["hr"][..., 3::4, 3::4], batch["lr"])

    def test_an_image_cut_short_is_replaced_by_the_next(self, photos: Path) -> None:
        data = (photos / "3.png").read_bytes()
        (photos / "3.png").write_bytes(data[: len(data) // 2])
        with pytest.warns(UserWarning, match=r"3\.png.*another image takes its place"):
            whole = batches(dataset(photos))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert same(batches(dataset(photos), start=3), whole[3:])

    def test_not_one_image_can_be_decoded(self, photos: Path) -> None:
        pairs = find_images(photos, 4, 8, holdout=0).train
        for pair in pairs:
            pair.hr.write_bytes(pair.hr.read_bytes()[:200])
        data = CropDataset(pairs, Degradation(4), 0, 0)
        with pytest.warns(UserWarning, match="takes its place"), pytest.raises(ImageFileError, match="not one of the"):
            batches(data)


def test_cache_keeps_within_its_limit(photos: Path) -> None:
    cache = ImageCache(2 * 3 * 60 * 64)
    paths = sorted(photos.iterdir())
    for path in [*paths, *paths]:
        assert torch.equal(cache.get(path), read_rgb(path))
        assert cache.used <= cache.limit
        assert cache.used == sum(t.numel() for t in cache._images.values())
    assert len(cache) >= 1
    assert cache.get(paths[-1]) is cache.get(paths[-1])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_all_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "a.png", mode=mode)
    assert read_rgb(path).shape == (3, 48, 64)
    assert find_images(tmp_path, 4, 8).train == [ImagePair(path, (48, 64))]


class TestAugment:
    def test_rotation_against_pillow(self) -> None:
        rng = np.random.default_rng(0)
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize(
            (81, 81), Image.Resampling.BICUBIC
        )
        theirs = np.asarray(image.rotate(25, Image.Resampling.BICUBIC))[20:61, 20:61]
        ours = rotated(torch.from_numpy(np.array(image)).permute(2, 0, 1), np.deg2rad(25), 41).permute(1, 2, 0).numpy()
        difference = np.abs(ours.astype(float) - theirs)  # the kernels differ: a = −0.75 and −0.5
        assert difference.mean() < 2
        assert difference.max() < 8

    def test_quarter_turn_is_exact(self) -> None:
        image = torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8)
        assert torch.equal(rotated(image, np.pi / 2, 12), image.rot90(1, (1, 2)))

    def test_extent(self) -> None:
        assert extent(0) == 1
        assert extent(np.pi / 4) == pytest.approx(2**0.5)

    def test_no_strength_no_change(self) -> None:
        image = torch.randint(0, 256, (3, 9, 9), dtype=torch.uint8)
        assert torch.equal(recoloured(image, np.random.default_rng(0), 0.0), image)
        assert all(torch.equal(sharpened(image, np.random.default_rng(seed), 0.0), image) for seed in range(4))

    @pytest.mark.parametrize(("sigma", "strength"), [(0.6, 0.5), (1.0, 1.0), (1.5, 0.8)])
    def test_unsharp_mask_against_scikit_image(self, sigma: float, strength: float) -> None:
        image = np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8)
        theirs = 255 * unsharp_mask(image, sigma, strength, channel_axis=2)
        ours = unsharp_masked(torch.from_numpy(image).permute(2, 0, 1), sigma, strength).permute(1, 2, 0).numpy()
        inside = (slice(7, -7), slice(7, -7))  # they mirror the border, and round nothing
        assert np.abs(ours.astype(float) - theirs)[inside].max() < 0.6

    def test_every_other_crop_is_sharpened(self, photos: Path) -> None:
        pairs = find_images(photos, 4, 8, holdout=0).train
        plain, sharp = (batches(CropDataset(pairs, Degradation(4), 0, 10**6, sharpen=s)) for s in (0.0, 1.0))
        before, after = ([variation(x) for b in bs for x in b["hr"]] for bs in (plain, sharp))
        assert all(b >= a for a, b in zip(before, after, strict=True))
        assert 6 <= sum(b > a for a, b in zip(before, after, strict=True)) <= 18  # of 24
