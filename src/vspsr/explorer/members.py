"""Members of a space given edits: whole images, and parts of them at a cost that does not depend on the picture's size.

A part equals the float image of the whole there.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vspsr.consistency.progress import one_of
from vspsr.explorer.editing import conditioned_space, texture_factor, textured_space
from vspsr.explorer.layers import Spread
from vspsr.explorer.messages import Between, Box, Edit, Mean, Member, Moved, Sample
from vspsr.explorer.session import Session
from vspsr.space import PrincipalComponents, Region, SRSpace

Part = tuple[int, int, int, int]
"""top, left, height, width in LR pixels"""


def member_image(session: Session, edits: Sequence[Edit], member: Member, part: Part | None = None) -> Tensor:
    """A member given edits, (1, C, H, W), or a part of it, (C, s·height, s·width).

    Conditions change a member no more than they ask for.
    """
    with one_of(3, 0):
        conditioned = conditioned_space(session, edits)
    if conditioned is None:
        return free_image(session, textured_space(session, edits), member, part)
    seen = _seen(conditioned, part)
    if isinstance(member, Mean):
        return seen.mean
    around = seen.surroundings if isinstance(seen, Region) else None
    with one_of(3, 1):
        image = free_image(session, textured_space(session, edits), member, around)
    with one_of(3, 2):
        return seen.corrected(image)


def free_image(session: Session, space: SRSpace, member: Member, part: Part | None) -> Tensor:
    """`member_image` of a space without conditions."""
    match member:
        case Mean():
            return _seen(space, part).mean
        case Sample():
            return _seen(space, part).sample(1, member.seed)[0]
        case Between():
            # The space is a Gaussian: this is the member whose noise lies between those of two others.
            a, b = (free_image(session, space, m, part) for m in (member.a, member.b))
            mean, angle = _seen(space, part).mean, member.t * math.pi / 2
            return mean + math.cos(angle) * (a - mean) + math.sin(angle) * (b - mean)
        case Moved():
            base, region = free_image(session, space, member.base, part), space.region(*member.region.part)
            found = found_components(session, space, member.region, max(1, len(member.amounts)))
            rest = [0.0] * (len(found.stddev) - len(member.amounts))
            amounts = torch.tensor([*member.amounts, *rest])[: len(found.stddev)]
            if part is None:
                return region.along(found, amounts, base)
            shift = (amounts[:, None, None, None] * region.shifts(found)).sum(0)
            return added(base.clone(), part, shift, region.surroundings, space.degradation.scale)


def _seen(space: SRSpace, part: Part | None) -> SRSpace | Region:
    """A space, or a part of it."""
    return space if part is None else space.region(*part)


def found_components(session: Session, space: SRSpace, region: Box, count: int) -> PrincipalComponents:
    """The components of a region, found once for a space: the first ones of more are not those of fewer."""
    key = f"{id(space)} {region} {count}"
    found = session.images.made(key, lambda: (space, space.region(*region.part).principal_components(count)))
    return found[1]  # type: ignore[no-any-return]


def spread_image(session: Session, edits: Sequence[Edit], part: Part | None = None) -> Spread:
    """The mean of the space given edits and its standard deviation, with the texture that they paint; or a part."""
    conditioned, factor = conditioned_space(session, edits), texture_factor(session, edits)
    seen = _seen(session.space if conditioned is None else conditioned, part)
    mean, stddev = seen.mean, seen.stddev_at(factor) if isinstance(factor, Tensor) else seen.stddev
    mean, stddev = (values.reshape(values.shape[-3:]).cpu() for values in (mean, stddev.float()))
    top, left = (0, 0) if part is None else part[:2]
    scale = session.degradation.scale
    return Spread(mean, stddev, any(edit.on for edit in edits), scale * top, scale * left)


def added(image: Tensor, part: Part, shift: Tensor, moved: Part, scale: int) -> Tensor:
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
