"""Drafts: a part of a member, computed from that part of the space alone.

They are rounded value by value: only the exact picture, which is made as a whole, downscales to the LR picture.
"""

from dataclasses import replace
from typing import Any

from vspsr.explorer.editing import key_of
from vspsr.explorer.layers import display_rgb
from vspsr.explorer.members import member_part
from vspsr.explorer.messages import DraftRequest
from vspsr.explorer.session import Session
from vspsr.images.sheets import png


def draft(session: Session, request: DraftRequest) -> dict[str, Any]:
    """A part of a member given edits as a PNG; what the page needs to place it, in HR pixels."""
    part, lr = request.part, session.picture
    image = member_part(session, request.edits, request.member, (part.top, part.left, part.height, part.width))
    picture = replace(lr, pixels=(image.cpu().clamp(0, 1) * lr.white).round().int(), alpha=None)
    key, s = key_of(request.member, request.edits, part), session.degradation.scale
    session.drafts.made(key, lambda: ("draft.png", "image/png", png(display_rgb(picture))))
    sizes = {"top": part.top, "left": part.left, "height": part.height, "width": part.width}
    return {"blob": key, **{name: s * n for name, n in sizes.items()}}
