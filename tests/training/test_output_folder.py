"""What a run and an export find in their output folder: nothing that is not theirs is replaced."""

import os
from pathlib import Path

import pytest
import training_runs as small

from vspsr.errors import OutputError, VSpSRError
from vspsr.training.checkpoint import latest
from vspsr.training.export import export
from vspsr.training.metrics_table import MetricsTable
from vspsr.training.recipe_file import to_yaml

SHORT = {
    "phases": [{"name": "a", "steps": 1, "losses": {"mean_l1": 1.0}}],
    "log_every": 1,
    "validation": {"every": 1, "images": 1},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    small.run(small.recipe_of(photos, **SHORT), folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestRun:
    @pytest.mark.parametrize("name", ["recipe.yaml", "metrics.csv", "pictures/step-00000001.png"])
    @pytest.mark.parametrize("linked", [False, True])
    def test_files_of_others_stay(self, photos: Path, tmp_path: Path, name: str, linked: bool) -> None:
        own = tmp_path / "run" / name
        own.parent.mkdir(parents=True)
        real = tmp_path / "precious" if linked else own
        real.write_text("step\n0\n")
        if linked:
            own.symlink_to(real)
        with pytest.raises(OutputError, match=rf"{name}: belongs to no run of this recipe: .*another folder") as caught:
            small.run(small.recipe_of(photos, **SHORT), tmp_path / "run")
        assert "\n" not in str(caught.value)
        assert real.read_text() == "step\n0\n"
        assert [str(p) for p in content(tmp_path / "run")] == [name]

    def test_a_run_killed_before_its_first_checkpoint_starts_again(self, photos: Path, tmp_path: Path) -> None:
        recipe = small.recipe_of(photos, **SHORT)
        (tmp_path / "recipe.yaml").write_bytes(to_yaml(recipe))
        (tmp_path / "metrics.csv").write_text("step,train/loss\n1,77\n")
        with pytest.raises(OutputError, match=r"recipe\.yaml: belongs to no run of this recipe"):
            small.run(small.recipe_of(photos, seed=1, **SHORT), tmp_path)
        small.run(recipe, tmp_path)
        assert latest(tmp_path) is not None
        assert [float(row["train/loss"]) < 1 for row in small.table(tmp_path)] == [True]

    @pytest.mark.parametrize("place", [".", "runs/a", "link", "pictures"])
    def test_not_among_the_training_images(self, tmp_path: Path, place: str) -> None:
        photos = small.photographs(tmp_path / "photos")
        output = photos / place
        if place == "link":
            output = tmp_path / "link"
            output.symlink_to(photos)
        elif place == "pictures":
            output = tmp_path / "run"
            output.mkdir()
            (output / "pictures").symlink_to(photos)
        before = content(tmp_path)
        with pytest.raises(OutputError, match="would lie among the training images"):
            small.run(small.recipe_of(photos, **SHORT), output)
        assert content(tmp_path) == before

    def test_the_images_may_lie_within_the_run(self, tmp_path: Path) -> None:
        photos = small.photographs(tmp_path / "photos")
        small.run(small.recipe_of(photos, **SHORT), tmp_path)
        assert latest(tmp_path) is not None

    @pytest.mark.parametrize("name", ["pictures", "checkpoints"])
    def test_a_file_in_place_of_a_folder(self, photos: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("mine")
        with pytest.raises(OutputError, match=f"{name}: the output folder cannot be made"):
            small.run(small.recipe_of(photos, **SHORT), tmp_path)
        assert (tmp_path / name).read_text() == "mine"


class TestExport:
    @pytest.mark.parametrize("name", ["README.md", "example.png", "config.json", "model.safetensors"])
    @pytest.mark.parametrize("linked", [False, True])
    def test_files_of_others_stay(self, finished: Path, tmp_path: Path, name: str, linked: bool) -> None:
        own = tmp_path / "mine" / name
        own.parent.mkdir()
        real = tmp_path / "precious" if linked else own
        real.write_text("mine")
        if linked:
            own.symlink_to(real)
        with pytest.raises(OutputError, match=f"{name}: exists already: use `overwrite`"):
            export(finished, own.parent)
        assert real.read_text() == "mine"
        assert list(content(own.parent)) == [name]
        export(finished, own.parent, overwrite=True)
        assert own.read_bytes() != b"mine"
        (picture,) = (finished / "pictures").iterdir()
        assert (own.parent / "example.png").read_bytes() == picture.read_bytes()

    def test_nothing_is_written_where_the_run_is_damaged(
        self, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        figures = finished / "metrics.csv"
        before = figures.read_bytes()
        figures.write_bytes(before.replace(b",", b";"))
        try:
            with pytest.raises(VSpSRError, match=r"metrics\.csv: .*the column `step` is missing.* move it away"):
                export(finished, tmp_path / "model")
        finally:
            figures.write_bytes(before)
        assert not (tmp_path / "model").exists()


class TestMetricsTable:
    TEXT = "step,train/loss,val/psnr_mean\n2,0.5,\n4,0.25,30\n"

    @pytest.mark.parametrize(
        "spoiled",
        [
            TEXT.replace(",", ";").encode(),
            TEXT.encode("utf-16"),
            TEXT.replace("0.5", "½").encode("latin-1"),
            b"date,km\n1.1.,5\n",
            TEXT.replace("4,", "four,").encode(),
            TEXT.replace("0.25", "0;25").encode(),
            TEXT.replace("30", "30,31").encode(),
            TEXT.replace("30", "3" * 200_000).encode(),
            b'step,"a\n' + b"x" * 200_000,
            b"\0",
            b"",
        ],
    )
    def test_a_spoiled_file(self, tmp_path: Path, spoiled: bytes) -> None:
        path = tmp_path / "metrics.csv"
        path.write_bytes(spoiled)
        with pytest.raises(VSpSRError, match=r"metrics\.csv: no figures of a run \(.*\): move it away") as caught:
            MetricsTable(path, 4)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value).replace(str(path), "")) < 200
        assert path.read_bytes() == spoiled

    def test_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "metrics.csv")
        with pytest.raises(VSpSRError, match="is not a regular file"):
            MetricsTable(tmp_path / "metrics.csv", 4)

    def test_a_byte_order_mark_and_line_ends_of_windows_do_not_matter(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.csv"
        path.write_bytes(b"\xef\xbb\xbf" + self.TEXT.replace("\n", "\r\n").encode())
        table = MetricsTable(path, 3)
        assert table.rows == [{"step": "2", "train/loss": "0.5", "val/psnr_mean": ""}]
        table.add(4, {"train/loss": 0.125})
        assert path.read_text() == "step,train/loss,val/psnr_mean\n2,0.5,\n4,0.125,\n"
