"""The distance of a picture from a space, its closest member, and which of two pictures is likelier.

A picture p is taken for a member of the space seen with a small white error: p ~ N(m, S), S = C + τ² I. Without the
error nearly every picture that downscales to y would be a member, however unlikely, because A has more atoms than a
patch has values. With α = S⁻¹ (p − m),

    closest member:        m + C α, the most likely x given p; what no member has is τ² α
    Mahalanobis distance:  d² = (p − m)ᵀ α = ‖ε‖² + τ² ‖α‖², ε = c Mᵀ α the noise of that member

S does not mix what y fixes (D⁺D x) with the rest. The distance is that of the rest, of n = channels·(s² − 1)·h·w
dimensions; d² of a true member is n on average. The space of a noisy LR image leaves all open, n = channels·s²·h·w, and
the distance is that of the whole picture, its LR image included. S has no eigenvalue below τ², which bounds the errors
of what a solve gives. In float64 it is accurate to 1e-10; in float32 it stops when d is accurate to 1 %, and a
likelihood ratio to 2 % or half a nat.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.space.bands import widened
from vspsr.space.base import SpaceBase
from vspsr.space.conjugate_gradients import inverse_form, smoothed_gradients
from vspsr.space.covariance import Covariance
from vspsr.space.observations import check_stddev

_MEMBER, _ENERGY = 0.1, 0.02
"""Tolerances in float32: of the closest member, as a share of the picture's distance from the mean, and of d²."""

_RATIO = {torch.float32: (1.0, 0.02), torch.float64: (1e-8, 1e-10)}
"""Accuracy of differences of d², twice the ratio in nats: absolute, and as a share."""


@dataclass(frozen=True)
class Nearest:
    """The member of a space closest to a picture.

    Attributes:
        member: (1, channels, H, W); it downscales to y (if that is noisy, nearly so).
        distance: Mahalanobis distance d of the picture's detail (if the LR image is noisy, of the whole picture), the
            calibration included.
        expected: its root mean square, √n, for a true member that is seen with an error of the given `stddev` in each
            value. A member without that error has less.
        by_pixel: (h, w), share of each LR pixel in d², over that of such a member on average: about 1 where the
            picture is typical, larger where it is not. In float32 up to a third too small, as in the calibrations that
            `assess` compares it with.
        outside: (1, channels, H, W), picture − member: what no member has.
    """

    member: Tensor
    distance: float
    expected: float
    by_pixel: Tensor
    outside: Tensor


@dataclass(frozen=True)
class LikelihoodRatio:
    """The logarithm of how much likelier picture a is than picture b, in nats.

    Attributes:
        nats: above 0 if a is likelier: by e^nats.
        lr_nats: the part of it that comes from how well each downscales to y, or to what a noisy y says of it; given
            conditions on a noisy y the two parts have no meaning of their own.
        detail_nats: the part that comes from detail.
    """

    nats: float
    lr_nats: float
    detail_nats: float


@torch.no_grad()
def nearest(space: SpaceBase, picture: Tensor, stddev: float) -> Nearest:
    """See `SRSpace.nearest`."""
    picture, tau = space._as_picture(picture, "picture"), check_stddev(stddev)
    covariance, scale = space._covariance(), space.degradation.scale
    _, channels, height, width = picture.shape
    difference = picture - space.mean
    detail = covariance.detail(difference)
    product = _product(covariance, detail, tau)
    # The member is wrong by C S⁻¹ times the residual, which is no larger than the residual.
    tolerances = (1e-10, tau**2, 1e-10) if detail.dtype == torch.float64 else (_MEMBER, tau**2, _ENERGY)
    parts = [detail] if covariance.lr_variance is None else [detail, difference - detail]
    solved = [smoothed_gradients(product, part.double().flatten(), *tolerances) for part in parts]
    alpha, squared = torch.stack([x for x, _ in solved]).sum(0).view_as(detail), sum(energy for _, energy in solved)
    eps = covariance.root_adjoint(alpha.to(picture)).double()
    rest = alpha.square().unflatten(-1, (-1, scale)).unflatten(-3, (-1, scale)).sum((0, 1, 3, 5))
    by_pixel = (eps.square().sum((0, 1)) + tau**2 * rest) / (channels * scale**2 * covariance.open_share)
    member = space._moved(space.mean, covariance.root(eps.to(picture)), (0, 0))
    n = channels * height * width * covariance.open_share
    distance = max(squared, 0.0) ** 0.5
    return Nearest(member, distance, n**0.5, by_pixel.to(picture), picture - member)


@torch.no_grad()
def likelihood_ratio(space: SpaceBase, picture_a: Tensor, picture_b: Tensor, stddev: float) -> LikelihoodRatio:
    """See `SRSpace.likelihood_ratio`."""
    a, b = space._as_picture(picture_a, "picture_a"), space._as_picture(picture_b, "picture_b")
    tau, scale = check_stddev(stddev), space.degradation.scale
    different = (a != b).any(1)[0]
    if not bool(different.any()):
        return LikelihoodRatio(0.0, 0.0, 0.0)
    # The determinant is the same for both, and d_a² − d_b² = (a − b)ᵀ S⁻¹ (a + b − 2m), which takes the
    # surroundings of where they differ.
    places = different.nonzero() // scale
    parts = (slice(int(place.min()), int(place.max()) + 1) for place in places.T)
    margin = space._margin(None if a.dtype == torch.float64 else 1e-4)
    window = space._crop(*widened(parts, margin, space.y.shape[-2:]))
    top, left = (o - i for o, i in zip(window._origin, space._origin, strict=True))
    h, w = window.y.shape[-2:]
    rows, columns = slice(scale * top, scale * (top + h)), slice(scale * left, scale * (left + w))
    difference = (a - b)[..., rows, columns]
    total = (a[..., rows, columns] + b[..., rows, columns] - 2 * window.mean).double()
    covariance = window._covariance()
    detail = covariance.detail(difference)
    lr = difference - detail

    def form(x: Tensor, y: Tensor) -> float:
        u, v = x.double().flatten(), y.double().flatten()
        return inverse_form(_product(covariance, x, tau), u, v, tau**2, _RATIO[x.dtype])

    if covariance.lr_variance is None:  # S is τ² I for what y fixes
        of_detail, of_lr = form(detail, covariance.detail(total)), float((lr.double() * total).sum()) / tau**2
    else:
        of_detail, of_lr = form(detail, total), form(lr, total)
    return LikelihoodRatio(-0.5 * (of_detail + of_lr), -0.5 * of_lr, -0.5 * of_detail)


def _product(covariance: Covariance, x: Tensor, tau: float) -> Callable[[Tensor], Tensor]:
    """u (n,) → (C + τ² I) u for images like x, in the precision of x."""
    return lambda u: covariance.product(u.to(x.dtype).view_as(x)).double().flatten() + tau**2 * u
