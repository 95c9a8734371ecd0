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


def member_image(session: Session, edits: Sequence[Edit], member: Member) -> Tensor:
    """A member given edits: (1, C, H, W). Conditions change a member no more than they ask for."""
    with one_of(3, 0):
        conditioned = conditioned_space(session, edits)
    if conditioned is not None and isinstance(member, Mean):
        return conditioned.mean
    with one_of(1, 0) if conditioned is None else one_of(3, 1):
        image = _free_image(session, textured_space(session, edits), member)
    if conditioned is None:
        return image
    with one_of(3, 2):
        return conditioned.corrected(image)


def _free_image(session: Session, space: SRSpace, member: Member) -> Tensor:
    """A member of a space: (1, C, H, W)."""
    match member:
        case Mean():
            return space.mean
        case Sample():
            return space.sample(1, member.seed)[0]
        case Between():
            a, b = (_free_image(session, space, m) for m in (member.a, member.b))
            return between(space.mean, a, b, member.t)
        case Moved():
            region, found, amounts = movement(session, space, member)
            return region.along(found, amounts, _free_image(session, space, member.base))


def between(mean: Tensor, a: Tensor, b: Tensor, t: float) -> Tensor:
    """The space is a Gaussian: this is the member whose noise lies between those of two others."""
    return mean + math.cos(t * math.pi / 2) * (a - mean) + math.sin(t * math.pi / 2) * (b - mean)


def movement(session: Session, space: SRSpace, member: Moved) -> tuple[Region, PrincipalComponents, Tensor]:
    """What a member is moved along: the region, its components, how many σ along each."""
    found = found_components(session, space, member.region, max(1, len(member.amounts)))
    amounts = torch.tensor([*member.amounts, *[0.0] * (len(found.stddev) - len(member.amounts))])
    return region_of(space, member.region), found, amounts[: len(found.stddev)]


def region_of(space: SRSpace, region: Box) -> Region:
    """The region that a request names."""
    return space.region(region.top, region.left, region.height, region.width)


def found_components(session: Session, space: SRSpace, region: Box, count: int) -> PrincipalComponents:
    """The components of a region, found once for a space: the first ones of more are not those of fewer."""
    key = f"{id(space)} {region} {count}"
    found = session.images.made(key, lambda: (space, region_of(space, region).principal_components(count)))
    return found[1]  # type: ignore[no-any-return]


def member_part(session: Session, edits: Sequence[Edit], member: Member, part: Part) -> Tensor:
    """What `member_image` has there: (C, s·height, s·width)."""
    conditioned = conditioned_space(session, edits)
    if conditioned is None:
        return free_part(session, edits, member, part)
    region = conditioned.region(*part)
    if isinstance(member, Mean):
        return region.mean
    return region.corrected(free_part(session, edits, member, region.surroundings))


def spread_image(session: Session, edits: Sequence[Edit]) -> Spread:
    """The mean of the space given edits and its standard deviation, with the texture that they paint."""
    conditioned, factor = conditioned_space(session, edits), texture_factor(session, edits)
    space = session.space if conditioned is None else conditioned
    stddev = space.stddev_at(factor) if isinstance(factor, Tensor) else space.stddev
    return Spread(space.mean[0].cpu(), stddev[0].float().cpu(), any(edit.on for edit in edits))


def spread_part(session: Session, edits: Sequence[Edit], part: Part) -> Spread:
    """What `spread_image` has there."""
    conditioned, factor = conditioned_space(session, edits), texture_factor(session, edits)
    region = (session.space if conditioned is None else conditioned).region(*part)
    stddev, s = region.stddev_at(factor) if isinstance(factor, Tensor) else region.stddev, session.degradation.scale
    return Spread(region.mean.cpu(), stddev.float().cpu(), any(edit.on for edit in edits), s * part[0], s * part[1])


def free_part(session: Session, edits: Sequence[Edit], member: Member, part: Part) -> Tensor:
    """`member_part` of the space without the conditions."""
    return _free_part(session, textured_space(session, edits), member, part)


def _free_part(session: Session, space: SRSpace, member: Member, part: Part) -> Tensor:
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
            return added(image, part, shift, region.surroundings, space.degradation.scale)


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
