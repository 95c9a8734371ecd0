"""Drafts: a part of a member, computed from that part of the space alone.

They equal the float image of the whole there, and are rounded value by value: only the exact picture, which is made as
a whole, downscales to the LR picture.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from vspsr.explorer.editing import conditioned_space, key_of, textured_space
from vspsr.explorer.layers import display_rgb
from vspsr.explorer.messages import Between, DraftRequest, Edit, Mean, Member, Moved, Sample
from vspsr.explorer.session import Session
from vspsr.explorer.work import between, movement
from vspsr.images.sheets import png
from vspsr.space import SRSpace

_Part = tuple[int, int, int, int]
"""top, left, height, width in LR pixels"""


def draft(session: Session, request: DraftRequest) -> dict[str, Any]:
    """A part of a member given edits as a PNG; what the page needs to place it, in HR pixels."""
    part, lr = request.part, session.picture
    image = member_part(session, request.edits, request.member, (part.top, part.left, part.height, part.width))
    picture = replace(lr, pixels=(image.cpu().clamp(0, 1) * lr.white).round().int(), alpha=None)
    key, s = key_of(request.member, request.edits, part), session.degradation.scale
    session.drafts.made(key, lambda: ("draft.png", "image/png", png(display_rgb(picture))))
    sizes = {"top": part.top, "left": part.left, "height": part.height, "width": part.width}
    return {"blob": key, **{name: s * n for name, n in sizes.items()}}


def member_part(session: Session, edits: Sequence[Edit], member: Member, part: _Part) -> Tensor:
    """What `member_image` has there: (C, s·height, s·width)."""
    space, conditioned = textured_space(session, edits), conditioned_space(session, edits)
    if conditioned is None:
        return _free_part(session, space, member, part)
    region = conditioned.region(*part)
    if isinstance(member, Mean):
        return region.mean
    return region.corrected(_free_part(session, space, member, region.surroundings))


def _free_part(session: Session, space: SRSpace, member: Member, part: _Part) -> Tensor:
    match member:
        case Mean():
            return space.region(*part).mean
        case Sample():
            return space.region(*part).sample(1, member.seed)[0]
        case Between():
            a, b = (_free_part(session, space, m, part) for m in (member.a, member.b))
            return between(space.region(*part).mean, a, b, member.t)
        case Moved():
            region, found, amounts = movement(session, space, member)
            shift = (amounts[:, None, None, None] * region.shifts(found)).sum(0)
            image = _free_part(session, space, member.base, part).clone()
            return _added(image, part, shift, region.surroundings, space.degradation.scale)


def _added(image: Tensor, part: _Part, shift: Tensor, moved: _Part, scale: int) -> Tensor:
    """Add what a shift changes of a part."""
    own, other = [], []
    for axis in (0, 1):
        first = max(part[axis], moved[axis])
        last = min(part[axis] + part[axis + 2], moved[axis] + moved[axis + 2])
        if first >= last:
            return image
        own.append(slice(scale * (first - part[axis]), scale * (last - part[axis])))
        other.append(slice(scale * (first - moved[axis]), scale * (last - moved[axis])))
    image[:, own[0], own[1]] += shift[:, other[0], other[1]]
    return image
