"""What the jobs compute: layers, drafts, components of a region, which of two candidates is supported."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vspsr.consistency.progress import Progress, estimate_progress, one_of, part_of, report_progress
from vspsr.degradation.resize import imresize
from vspsr.explorer.editing import conditioned_space, image_of, key_of, place_of, textured_space
from vspsr.explorer.jobs import no_progress
from vspsr.explorer.layers import Layer, colours_wrong, spread_map
from vspsr.explorer.members import added, found_components, free_image, member_image, spread_image
from vspsr.explorer.messages import (
    AnyLayer,
    Ask,
    Clip,
    Components,
    DraftRequest,
    Edit,
    Enlarged,
    File,
    Low,
    Member,
    Stddev,
)
from vspsr.explorer.session import Session
from vspsr.images.colours import srgb_array
from vspsr.images.picture import Picture, bicubic
from vspsr.images.sheets import png
from vspsr.model import VSpSR
from vspsr.upscaling import Exactness, PictureSpace, compare

_INTERVAL = 1.6448536269514722  # σ to either side that hold 90 % of a Gaussian


def open_picture(session: Session, model: VSpSR, progress: Progress) -> dict[str, Any]:
    """Make the space of a session's picture; run the network, unless the picture is large."""
    progress(0, 1)
    source, limits = session.source, session.limits
    by_place = session.lr_pixels > limits.whole_lr_pixels
    budget = None if source.exact else limits.inexact_seconds
    session.pictures = PictureSpace(model, source, budget=budget, by_place=by_place)
    return {"session": session.id}


def layer(session: Session, member: AnyLayer, edits: Sequence[Edit], progress: Progress = no_progress) -> Layer:
    """The layer of a member given edits, with how many LR values or JPEG coefficients it misses, as measured."""
    name = layer_name(member, edits)
    return session.layers.made(name, lambda: _made_layer(session, name, member, edits, progress))


def layer_name(member: AnyLayer, edits: Sequence[Edit]) -> str:
    """The name of a layer: equal where its picture is."""
    return key_of(member, [edit for edit in edits if edit.on and needs_space(member)])


def needs_space(member: AnyLayer) -> bool:
    """Whether a layer is made from the space."""
    return not isinstance(member, Low | Enlarged | File)


def _made_layer(session: Session, name: str, member: AnyLayer, edits: Sequence[Edit], progress: Progress) -> Layer:
    lr = session.picture
    match member:
        case Low():
            return Layer.of(name, lr)
        case File():
            picture = session.file(member.file)
            return Layer.of(name, picture, **_checked(session, picture))
        case Stddev():
            with estimate_progress(progress):
                spread = spread_image(session, edits)
            rgb, end = spread_map(spread.stddev)
            about = {"end": end, "edited": spread.edited}
            return Layer(name, np.ascontiguousarray(rgb.transpose(2, 0, 1)), rgb, about, spread)
        case Enlarged():
            height, width = (session.degradation.scale * n for n in lr.size)
            picture = bicubic(lr, (height, width))
        case _:
            picture, _ = exact_picture(session, session.opened, edits, member, progress)
    return Layer.of(name, picture, **_checked(session, picture))


def exact_picture(
    session: Session, pictures: PictureSpace, edits: Sequence[Edit], member: Member, progress: Progress
) -> tuple[Picture, Exactness]:
    """A member given edits, made exact: in two steps that take about as long."""
    with estimate_progress(progress):
        with one_of(2, 0):
            image = member_image(session, edits, member)
        with one_of(2, 1):
            report_progress(0, 1)
            return pictures.to_picture(image)


def _checked(session: Session, picture: Picture) -> dict[str, Any]:
    """How many LR values or JPEG coefficients an HR picture misses, measured; nothing for pictures of another size."""
    source, lr, degradation = session.source, session.picture, session.degradation
    unit = source.unit
    fits = picture.size == tuple(degradation.scale * n for n in lr.size)
    if not fits or picture.is_grey != lr.is_grey:
        return {}
    if source.jpeg is not None:
        picture = replace(picture, alpha=None)
    elif picture.alpha is None or lr.alpha is None:
        return {unit: lr.pixels.numel(), f"{unit}_wrong": colours_wrong(picture, lr, degradation)}
    compared = compare(picture, source, degradation.scale, degradation.kernel)  # with alpha: as what is exported
    return {unit: compared.total, f"{unit}_wrong": compared.wrong}


def draft(session: Session, request: DraftRequest, progress: Progress = no_progress) -> dict[str, Any]:
    """A part of a member or of σ given edits as a PNG, from that part of the space alone; what the page needs to place
    it, in HR pixels.

    Values are rounded one by one: only the exact picture, made as a whole, downscales to the LR picture. Of σ also the
    end of its colour scale, in levels, and whether edits count.
    """
    part, lr, member = request.part, session.picture, request.member
    key, about = key_of(member, request.edits, part), {}
    with estimate_progress(progress):
        if isinstance(member, Stddev):
            spread = session.spreads.made(key, lambda: spread_image(session, request.edits, part.part))
            rgb, end = spread_map(spread.stddev)
            about = {"end": end, "edited": spread.edited}
        else:
            image = member_image(session, request.edits, member, part.part)
            pixels = (image.cpu().clamp(0, 1) * lr.white).round().int().expand(len(lr.pixels), -1, -1)
            rgb = srgb_array(replace(lr, pixels=pixels, alpha=None))
    session.drafts.made(key, lambda: ("image/png", png(rgb)))
    place = {name: session.degradation.scale * n for name, n in part.model_dump().items()}
    return {"blob": key, **place, **about}


def components(session: Session, request: Components, progress: Progress) -> dict[str, Any]:
    """The components of a region. What the page blends is kept as float16: the member's part, then a σ along each."""
    space, conditioned = textured_space(session, request.edits), conditioned_space(session, request.edits)
    region, s = space.region(*request.region.part), space.degradation.scale
    free = space.y.shape[1] * request.region.height * request.region.width * (s**2 - 1)
    with estimate_progress(progress), one_of(1 if conditioned is None else 2, 0):
        found = found_components(session, space, request.region, min(request.count, free))
    part = region.surroundings
    top, left, height, width = part
    image, shifts = member_image(session, request.edits, request.member, part), region.shifts(found)
    if conditioned is not None:  # the edits hold on: what a shift would change about them is taken back
        around = conditioned.region(*part)
        base = free_image(session, space, request.member, around.surroundings)
        fixed = around.corrected(base)
        rest = part_of(progress, 2, 1)
        for i in range(len(shifts)):
            rest(i, len(shifts))
            moved = added(base.clone(), around.surroundings, shifts[i], part, s)
            shifts[i] = around.corrected(moved) - fixed
    values = torch.cat([image[None], shifts]).expand(-1, 3, -1, -1)
    key = key_of(request.member, request.region, request.edits) + str(request.count)
    content = values.permute(0, 2, 3, 1).contiguous().half().numpy().tobytes()
    session.blobs.made(key, lambda: ("application/octet-stream", content))
    return {
        "blob": key,
        "top": s * top,
        "left": s * left,
        "height": s * height,
        "width": s * width,
        "count": len(found.stddev),
        "stddev": [float(v) for v in found.stddev],
        "explained": [float(v) for v in found.explained],
    }


def pixel(session: Session, name: str, x: int, y: int, spread_name: str | None) -> dict[str, Any]:
    """Value of a layer at an HR pixel, in levels; and σ and the 90 % interval by a map of σ or a draft of one, if it is
    kept and the pixel is in it.
    """
    shown = session.layer(name)
    height, width = (session.degradation.scale * n for n in session.picture.size)
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"`x`, `y` must lie in the picture of {width}×{height} pixels, got {x}, {y}")
    value = shown.pixels[:, y * shown.size[0] // height, x * shown.size[1] // width]
    report: dict[str, Any] = {"value": value.tolist(), "stddev": None, "interval": None}
    spread = None if spread_name is None else session.spread(spread_name)
    if spread is not None and (found := spread.at(x, y)) is not None:
        white = session.picture.white
        centre, sigma = (white * values for values in found)
        low, high = (centre - _INTERVAL * sigma).clamp(0, white), (centre + _INTERVAL * sigma).clamp(0, white)
        report["stddev"] = [float(v) for v in sigma]
        if session.source.jpeg is None:  # otherwise the values are no Gaussians
            report["interval"] = [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
    return report


def clip(session: Session, request: Clip) -> Picture:
    """A part of a layer."""
    shown = session.layer(request.layer)
    whole, place = shown.picture(session.picture), place_of(request.rect, shown.size)
    return Picture(whole.pixels[:, *place].clone(), whole.bits)


def ask(session: Session, request: Ask, progress: Progress = no_progress) -> dict[str, Any]:
    """Which of two candidates for a region is likelier: `SRSpace.likelihood_ratio` of pictures with either in it.

    Of a JPEG the detail alone: what its LR image is, is not known to the value.
    """
    space, r = session.space, request.region
    region, patches = space.region(*r.part), []  # a ValueError if it leaves the picture
    size = tuple(space.degradation.scale * n for n in (r.height, r.width))
    for i, candidate in enumerate((request.a, request.b)):
        progress(i, 3)
        if isinstance(candidate, File):
            patch = image_of(session.file(candidate.file), space.y.shape[1])
            if patch.shape[1:] != size:
                patch = imresize(patch, size=size).clamp(0, 1)
        else:
            with estimate_progress(progress), one_of(3, i):
                patch = member_image(session, request.edits, candidate, r.part)
        patches.append(patch)
    with estimate_progress(progress), one_of(3, 2):
        ratio = region.likelihood_ratio(patches[0], patches[1], request.stddev)
    if session.source.jpeg is not None:
        return {"nats": ratio.detail_nats, "lr_nats": None, "detail_nats": ratio.detail_nats}
    return {"nats": ratio.nats, "lr_nats": ratio.lr_nats, "detail_nats": ratio.detail_nats}
