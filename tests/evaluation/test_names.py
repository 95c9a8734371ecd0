"""Which file belongs to which HR image."""

import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vspsr.evaluation.names import EvaluationError, match_files, unique_stems

FOLDER = Path("results")


def matched(stems: list[str], names: list[str]) -> dict[str, list[str]]:
    found = match_files(stems, [FOLDER / n for n in names], "SR")
    return {stem: [p.name for p in m.samples] for stem, m in found.items()}


@pytest.mark.parametrize(
    "pattern",
    ["{}.png", "{}_x4.png", "{}x4.png", "{}_SR.png", "{}_RCAN_x4.png", "{}-out.jpg", "{}_s00.png", "{}_x4_sample0.png"],
)
def test_one_file_for_each_image(pattern: str) -> None:
    stems = ["baby", "bird", "img_001", "img_001_b"]
    names = [pattern.format(s) for s in stems]
    assert matched(stems, names[::-1]) == {s: [n] for s, n in zip(stems, names, strict=True)}


@pytest.mark.parametrize(
    "pattern", ["{}_s{:02d}.png", "{}_x4_s{:02d}.png", "{}_sample{:05d}.png", "{}_{}.png", "{}-s{}.png"]
)
@pytest.mark.parametrize("start", [0, 1])
def test_samples_are_in_the_order_of_their_numbers(pattern: str, start: int) -> None:
    names = {s: [pattern.format(s, i + start) for i in range(12)] for s in ("img_a", "img")}
    assert matched(list(names), sorted(names["img"] + names["img_a"])) == names


def test_the_challenges_numbers() -> None:
    sr = [f"{i:06d}_sample{k:05d}.png" for i in range(3) for k in range(2)]
    by_position = [sr[0:2], sr[2:4], sr[4:6]]
    # DIV2K's validation images are 0801 …: the challenge counts from 0.
    assert list(matched(["0801", "0802", "0803"], sr).values()) == by_position
    assert list(matched(["0001", "0002", "0003"], sr).values()) == by_position
    assert list(matched(["c", "a", "b"], sr).values()) == [sr[4:6], sr[0:2], sr[2:4]]
    assert list(matched(["000000", "000001", "000002"], sr).values()) == by_position
    # As of 2022: the image's own number.
    assert matched(["0901", "0902"], ["000902.png", "000901.png"]) == {"0901": ["000901.png"], "0902": ["000902.png"]}
    with pytest.raises(EvaluationError, match="no file 000002… for the HR image 0803"):
        matched(["0801", "0802", "0803"], sr[:4])
    with pytest.raises(EvaluationError, match=r"000002_sample00000.png: no HR image .* 1 others"):
        matched(["0801", "0802"], sr)


def test_what_upscale_writes_beside_samples() -> None:
    names = [f"{s}_x4_{kind}.png" for s in ("cat", "dog") for kind in ("s00", "s01", "mean", "stddev", "sheet")]
    found = match_files(["cat", "dog"], [FOLDER / n for n in names], "SR")
    assert [p.name for p in found["cat"].samples] == ["cat_x4_s00.png", "cat_x4_s01.png"]
    assert found["dog"].mean == FOLDER / "dog_x4_mean.png"
    # The mean alone is what is to be scored, and a mean of some images only is of no use.
    only = match_files(["cat"], [FOLDER / "cat_x4_mean.png", FOLDER / "cat_x4_stddev.png"], "SR")["cat"]
    assert (only.samples, only.mean) == ([FOLDER / "cat_x4_mean.png"], None)
    names.remove("dog_x4_mean.png")
    assert match_files(["cat", "dog"], [FOLDER / n for n in names], "SR")["cat"].mean is None


def test_hr_files_that_say_so() -> None:
    stems = ["img_001_SRF_4_HR", "img_002_SRF_4_HR"]
    assert matched(stems, ["img_001_SRF_4_LR.png", "img_002_SRF_4_LR.png"])[stems[0]] == ["img_001_SRF_4_LR.png"]


@pytest.mark.parametrize(
    ("stems", "names", "message"),
    [
        (["a", "b"], ["a.png"], "results: no SR file for the HR image b"),
        (["a", "b", "c"], ["a.png"], "the HR image b, nor for 1 others"),
        (["a"], ["a.png", "c.png"], r"c\.png: no HR image belongs to this SR file: HR a"),
        (["a"], ["a.png", "a.jpg"], r"a\.png: the SR file a\.jpg has the same stem"),
        (["a"], ["a_RCAN.png", "a_SAN.png"], r"a_RCAN\.png: a_SAN\.png could be meant as well for the HR image a"),
        (["a", "b"], ["a_RCAN.png", "b_SAN.png"], r"a_RCAN\.png: named differently from b_SAN\.png"),
        (["a"], ["a.png", "a_s00.png"], "could be meant as well"),
        (["a"], ["a_s0.png", "a_s00.png"], "could be meant as well for sample 0"),
        (
            ["a", "b"],
            ["a_s0.png", "a_s1.png", "b_s0.png"],
            "sample 1 of the HR image b is missing: it has 1 ",
        ),
        (["a"], ["a_s0.png", "a_s2.png"], "sample 1 of the HR image a is missing"),
        (["a"], ["a_x4_2.png", "a_x4_3.png"], "numbered from 0 or from 1, the first SR sample is 2"),
    ],
)
def test_what_is_not_clear_is_named(stems: list[str], names: list[str], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        matched(stems, names)


def test_two_hr_files_of_a_stem() -> None:
    with pytest.raises(EvaluationError, match=r"b\.png: HR image b\.jpg has the same stem"):
        unique_stems([Path("b.png"), Path("b.jpg")], "HR image")


@given(
    stems=st.sets(st.from_regex(r"\A[a-c][a-c_0-9]{0,4}\Z"), min_size=1, max_size=6),
    tag=st.sampled_from(["", "_x4", "_SR"]),
    n=st.integers(1, 4),
    data=st.data(),
)
def test_every_file_finds_its_image_or_is_refused(stems: set[str], tag: str, n: int, data: st.DataObject) -> None:
    """Names may be alike (a, a_1, a_1_0): never is a file given to another image than that which it was made for."""
    files = {f"{s}{tag}_s{i:02d}.png": s for s in stems for i in range(n)}
    names = data.draw(st.permutations(sorted(files)))
    if len(files) < n * len(stems):
        return
    try:
        found = matched(sorted(stems), names)
    except EvaluationError:
        return
    assert {name: stem for stem, of_stem in found.items() for name in of_stem} == files


FORMS = st.sampled_from(["NFC", "NFD"])


@given(
    stems=st.sets(st.text("aü한éx", min_size=1, max_size=4), min_size=1, max_size=4),
    pattern=st.sampled_from(["{}.png", "{}_x4.png", "{}_s00.png"]),
    data=st.data(),
)
def test_the_spelling_of_a_letter_does_not_matter(stems: set[str], pattern: str, data: st.DataObject) -> None:
    """Composed or decomposed, in any file of both folders."""

    def spelled(names: list[str]) -> list[Path]:
        return [FOLDER / unicodedata.normalize(data.draw(FORMS), name) for name in names]

    hr = unique_stems(spelled([f"{stem}.png" for stem in sorted(stems)]), "the HR image")
    assert set(hr) == {unicodedata.normalize("NFC", stem) for stem in stems}
    files = spelled([pattern.format(stem) for stem in sorted(stems)])
    found = match_files(list(hr), files, "SR")
    assert {unicodedata.normalize("NFC", p.name) for m in found.values() for p in m.samples} == {
        pattern.format(stem) for stem in hr
    }
    assert all(unicodedata.normalize("NFC", m.samples[0].name) == pattern.format(stem) for stem, m in found.items())


def test_two_spellings_of_one_name() -> None:
    composed, decomposed = (Path(unicodedata.normalize(form, "ü.png")) for form in ("NFC", "NFD"))
    with pytest.raises(EvaluationError, match="has the same stem: keep one"):
        unique_stems([composed, decomposed], "the HR image")


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_names_that_differ_in_case(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their records would be one file where file systems ignore case."""
    files = [Path("cat.jpg"), Path("Cat.png"), Path("dog.png")]
    monkeypatch.setattr(sys, "platform", platform)
    if platform == "linux":
        assert list(unique_stems(files, "the HR image")) == ["Cat", "cat", "dog"]
    else:
        with pytest.raises(EvaluationError, match=r"cat\.jpg: the HR image Cat\.png has the same stem"):
            unique_stems(files, "the HR image")
