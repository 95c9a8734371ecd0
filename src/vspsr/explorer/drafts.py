"""Drafts: a part of a member or of the map of σ, computed from that part of the space alone.

Members are rounded value by value: only the exact picture, which is made as a whole, downscales to the LR picture.
"""

from dataclasses import replace
from typing import Any

from vspsr.consistency.progress import estimate_progress
from vspsr.explorer.editing import key_of
from vspsr.explorer.jobs import Progress, no_progress
from vspsr.explorer.layers import spread_map
from vspsr.explorer.members import member_part, spread_part
from vspsr.explorer.messages import DraftRequest, Stddev
from vspsr.explorer.session import Session
from vspsr.images.colours import srgb_array
from vspsr.images.sheets import png


def draft(session: Session, request: DraftRequest, progress: Progress = no_progress) -> dict[str, Any]:
    """A part of a member or of σ given edits as a PNG; what the page needs to place it, in HR pixels.

    Of σ also the end of its colour scale, in levels, and whether edits count.
    """
    part, lr, member = request.part, session.picture, request.member
    place, about = (part.top, part.left, part.height, part.width), {}
    key, s = key_of(member, request.edits, part), session.degradation.scale
    with estimate_progress(progress):
        if isinstance(member, Stddev):
            spread = session.spreads.made(key, lambda: spread_part(session, request.edits, place))
            rgb, end = spread_map(spread.stddev)
            about = {"end": end, "edited": spread.edited}
        else:
            image = member_part(session, request.edits, member, place)
            pixels = (image.cpu().clamp(0, 1) * lr.white).round().int().expand(len(lr.pixels), -1, -1)
            rgb = srgb_array(replace(lr, pixels=pixels, alpha=None))
    session.drafts.made(key, lambda: ("draft.png", "image/png", png(rgb)))
    sizes = {"top": part.top, "left": part.left, "height": part.height, "width": part.width}
    return {"blob": key, **{name: s * n for name, n in sizes.items()}, **about}
