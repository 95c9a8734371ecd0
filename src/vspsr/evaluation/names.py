"""Which file belongs to which HR image: by name, never by order of listing, and never by guessing.

The stem of a file begins with the stem of its HR image; if several fit, the longest counts. The rest is empty, a scale
(`x4`), or begins with a separator. It may end in the number of the sample (`_s00`, `_sample00000`, `_3`).
The part before this number (`_x4`, `_RCAN_x4`, `_SR`, …) must be the same for all files. The challenge's bare numbers
(`000000_sample00000.png`) are HR images of the same number or else, as in its own script, their positions.

Stems are compared in Unicode's normal form NFC: an umlaut is one letter, however the file system spells it.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vspsr.errors import VSpSRError, counted
from vspsr.images.folders import belongs_to, composed_stem, name_key

Place = tuple[str, str, int | None]
"""The parts of a file name: stem of the HR image, the part between, number of the sample."""

_HR_ENDING = re.compile(r"(?<=.)[_-](?:HR|GT)$", re.IGNORECASE)
_REST = re.compile(r"(?P<tag>.*?)(?:[_-](?:s|sample)?[_-]?(?P<index>\d+))?", re.IGNORECASE)
_CHALLENGE = re.compile(r"(?P<number>\d+)(?:_sample(?P<index>\d+))?")
_COMPANION = re.compile(r"[_-](?P<kind>mean|stddev|sheet|low|high|trust)")
_SHOWN = 3  # names listed in an error


class EvaluationError(VSpSRError):
    """The images to be compared do not match: names, numbers, sizes, depths, colours."""


@dataclass
class Matched:
    """The files of one HR image: samples in order, and the mean image if there is one with the samples."""

    samples: list[Path] = field(default_factory=list)
    mean: Path | None = None


def unique_stems(files: Sequence[Path], what: str) -> dict[str, Path]:
    """Stem → file, sorted by stem; EvaluationError where two files share a stem, as file systems compare names."""
    by_key: dict[str, Path] = {}
    for path in sorted(files):
        if other := by_key.get(name_key(path.stem)):
            raise EvaluationError(f"{path}: {what} {other.name} has the same stem: keep one of them in the folder")
        by_key[name_key(path.stem)] = path
    return {composed_stem(path): path for path in sorted(by_key.values(), key=composed_stem)}


def match_files(stems: Sequence[str], files: Sequence[Path], what: str) -> dict[str, Matched]:
    """Assign the files of a folder to HR images.

    Args:
        stems: of the HR images, all different.
        files: all image files of the folder, at least one.
        what: "SR" or "LR": what the files are called in errors.

    Returns:
        Stem → its files, with the same number of samples for each. Standard deviations and contact sheets of `vspsr
        upscale` are left out.

    Raises:
        EvaluationError: a file belongs to no HR image, an HR image has no file or more than one candidate, the
            numbers of samples differ.
    """
    folder = files[0].parent
    unique_stems(files, f"the {what} file")
    keys = _keys(stems)
    places = {path: place for path in sorted(files) if (place := _place(composed_stem(path), keys))}
    if not places:
        places = _challenge_places(stems, files)
    if strangers := [p for p in sorted(files) if p not in places]:
        more = f", nor to {len(strangers) - 1} others" if len(strangers) > 1 else ""
        known = ", ".join(stems[:_SHOWN]) + (" …" if len(stems) > _SHOWN else "")
        raise EvaluationError(f"{strangers[0]}: no HR image belongs to this {what} file{more}: HR {known}")
    groups: dict[str, dict[Path, Place]] = {stem: {} for stem in stems}
    for path, place in places.items():
        groups[place[0]][path] = place
    if missing := [stem for stem in stems if not groups[stem]]:
        more = f", nor for {len(missing) - 1} others" if len(missing) > 1 else ""
        raise EvaluationError(f"{folder}: no {what} file for the HR image {missing[0]}{more}")
    companions = {stem: _take_companions(group) for stem, group in groups.items()}
    _check_tags(groups, what)
    matched = {stem: Matched(_in_order(stem, group, what)) for stem, group in groups.items()}
    _check_counts(groups, folder, what)
    if all(companions.values()):  # the mean of all images or of none
        for stem, mean in companions.items():
            matched[stem].mean = mean
    return matched


def _keys(stems: Sequence[str]) -> dict[str, str]:
    """Beginning of file names → stem. An ending that says HR may be missing if that is unambiguous."""
    short = {stem: _HR_ENDING.sub("", stem) for stem in stems}
    times = Counter([*short.values(), *(s for s in stems if short[s] != s)])
    return {stem: stem for stem in stems} | {k: stem for stem, k in short.items() if times[k] == 1}


def _place(name: str, keys: Mapping[str, str]) -> Place | None:
    """The HR image that a file belongs to by its stem; None if to none."""
    fitting = [k for k in keys if belongs_to(name, k)]
    if not fitting:
        return None
    key = max(fitting, key=len)
    rest = _REST.fullmatch(name[len(key) :])
    assert rest is not None
    return keys[key], rest["tag"], None if rest["index"] is None else int(rest["index"])


def _challenge_places(stems: Sequence[str], files: Sequence[Path]) -> dict[Path, Place]:
    """The challenge's bare numbers: HR images of the same number, else their position from 0."""
    parsed = {path: m for path in sorted(files) if (m := _CHALLENGE.fullmatch(path.stem))}
    numbers = {int(m["number"]) for m in parsed.values()}
    by_number = {int(stem): stem for stem in stems if stem.isdecimal()}
    by_position = dict(enumerate(sorted(stems)))
    ways = [way for way in (by_number, by_position) if len(way) == len(stems)]
    complete = [way for way in ways if set(way) == numbers]
    if not complete:
        for way in ways:
            if numbers and numbers < set(way):
                missing = min(set(way) - numbers)
                raise EvaluationError(f"{files[0].parent}: no file {missing:06d}… for the HR image {way[missing]}")
    way = complete[0] if complete else max(ways, key=lambda way: len(numbers & set(way)))
    return {
        path: (way[int(m["number"])], "", None if m["index"] is None else int(m["index"]))
        for path, m in parsed.items()
        if int(m["number"]) in way
    }


def _take_companions(group: dict[Path, Place]) -> Path | None:
    """Remove from a group what `vspsr upscale` writes beside samples. Returns the mean image, if there are samples."""
    kinds: dict[str, Path] = {}
    tags = {tag for _, tag, index in group.values() if index is not None}
    for path, (_, tag, index) in group.items():
        found = _COMPANION.search(tag)
        if found and index is None and found.end() == len(tag) and (tag[: found.start()] in tags or not tags):
            kinds[found["kind"]] = path
    if not tags and "mean" in kinds:
        del kinds["mean"]  # without samples, the mean is scored
    if len(kinds) == len(group):
        return None
    for path in kinds.values():
        del group[path]
    return kinds.get("mean")


def _check_tags(groups: Mapping[str, Mapping[Path, Place]], what: str) -> None:
    """EvaluationError unless all file names have the same form."""
    first_of: dict[str, Path] = {}
    for stem, group in groups.items():
        tags: dict[tuple[str, bool], Path] = {}
        for path, (_, tag, index) in group.items():
            tags.setdefault((tag, index is None), path)
            first_of.setdefault(tag, path)
        if len(tags) > 1:
            first, second = list(tags.values())[:2]
            raise EvaluationError(
                f"{first}: {second.name} could be meant as well for the HR image {stem}: keep one set of {what} files "
                "in the folder"
            )
    if len(first_of) > 1:
        first, second = list(first_of.values())[:2]
        raise EvaluationError(
            f"{first}: named differently from {second.name}: name all {what} files of a set alike, "
            "the stem of the HR image first"
        )


def _in_order(stem: str, group: Mapping[Path, Place], what: str) -> list[Path]:
    """The samples of an image by number; EvaluationError where two have the same."""
    by_index: dict[int | None, Path] = {}
    for path, (_, _, index) in group.items():
        if index in by_index:
            raise EvaluationError(
                f"{path}: {by_index[index].name} could be meant as well for sample {index} of the HR image {stem}: "
                f"keep one set of {what} files in the folder"
            )
        by_index[index] = path
    return [by_index[i] for i in sorted(by_index, key=lambda i: -1 if i is None else i)]


def _check_counts(groups: Mapping[str, Mapping[Path, Place]], folder: Path, what: str) -> None:
    """EvaluationError unless all images have the same numbers of samples, without gaps."""
    of_image = {stem: {i for _, _, i in group.values() if i is not None} for stem, group in groups.items()}
    if all(len(group) == 1 for group in groups.values()):
        return  # one file for each image, however numbered
    most = max(of_image, key=lambda stem: len(of_image[stem]))
    everything = set().union(*of_image.values())
    if min(everything) > 1:
        raise EvaluationError(
            f"{folder}: samples are numbered from 0 or from 1, the first {what} sample is {min(everything)}"
        )
    for stem, indices in of_image.items():
        if missing := set(range(min(everything), max(everything) + 1)) - indices:
            raise EvaluationError(
                f"{folder}: sample {min(missing)} of the HR image {stem} is missing: "
                f"it has {counted(len(indices), 'sample')}, {most} has {len(of_image[most])}"
            )
