"""Exact second moments of the SR space, without ever forming a covariance of images.

Let A map coefficients to z, one colour channel at a time, and P = D⁺D. The variance of a pixel of (I − P) z is

    diag((I − P) Σ (I − P)ᵀ) = Var[z] − 2 Cov[z, Pz] + Var[Pz],        Σ = A diag(σ²) Aᵀ, Pz = D⁺u, u = D z.

An atom covers k×k pixels and its LR image D·atom a few LR pixels, so all three terms are sums over LR pixels of small
matrices that are linear in σ²:

- Var[z]: overlap-add of Σ_c σ²_c atom_c²;
- Cov[z, Pz] at pixel p of a patch: Σ_e D⁺[p, e] Σ_c σ²_c atom_c[p] (D atom_c)[e], e over the LR image of the patch;
- Var[Pz] = Σ_d Σ_j D⁺[p, j] D⁺[p, j + d] S_d[j], where S_d[j] = Cov[u_j, u_{j+d}] is non-zero for a few offsets d
  only; for each offset this is a separable product with the banded matrices D⁺[p, j] D⁺[p, j + d].

Borders enter through the entries of D and D⁺ themselves; atoms are cut where they leave the image.
"""

import torch
from torch import Tensor

from vspsr.degradation.banded import Banded
from vspsr.degradation.operator import Degradation
from vspsr.space.synthesis import synthesize_patches

_BAND = 32  # LR rows treated at once: bounds the memory


def projected_variance(variance: Tensor, atoms: Tensor, degradation: Degradation) -> Tensor:
    """Variance of (I − D⁺D) z for σ² (B, G, C, h, w) and atoms (B, G, C, 3/G, k, k): (B, channels, H, W)."""
    h, w = variance.shape[-2:]
    rows, columns = _AtomAxis(degradation, h, atoms), _AtomAxis(degradation, w, atoms)
    images = []
    for sigma2, basis in zip(variance, atoms, strict=True):
        channels = [
            _channel_variance(sigma2[g], basis[g, :, c], rows, columns, degradation.scale)
            for g in range(basis.shape[0])
            for c in range(basis.shape[2])
        ]
        images.append(torch.cat(channels))
    return torch.stack(images).clamp_min(0)


class _AtomAxis:
    """What one axis contributes: how an atom at LR pixel i meets D and D⁺.

    Attributes:
        reach: E, an atom at i is seen by the LR pixels i − E … i + E.
        down: (classes, 2E+1, k), D[i + e, s·i − (k−s)/2 + t] for each distinct row of the axis.
        kind: (h,), the class of each LR pixel.
        up: (h, k, 2E+1), D⁺[s·i − (k−s)/2 + t, i + e].
        pseudo_inverse: D⁺ of the axis.
    """

    def __init__(self, degradation: Degradation, n_lr: int, atoms: Tensor) -> None:
        scale, k = degradation.scale, atoms.shape[-1]
        n = scale * n_lr
        self._negligible = torch.finfo(atoms.dtype).eps ** 1.25
        self._products: dict[int, Banded] = {}
        down = degradation.axis(n)
        self.pseudo_inverse = degradation.axis_pseudo_inverse(n, atoms.dtype)
        hr = scale * torch.arange(n_lr)[:, None] - (k - scale) // 2 + torch.arange(k)  # (h, k)
        # No LR pixel farther than this sees the atom; the bound is then tightened.
        self.reach = min(n_lr - 1, -(-(k + down.weights.shape[1]) // scale))
        while True:
            lr = torch.arange(n_lr)[:, None] + torch.arange(-self.reach, self.reach + 1)
            pieces = down.at(lr[:, :, None], hr[:, None, :])
            if self.reach == 0 or pieces[:, [0, -1]].any():
                break
            self.reach -= 1
        classes, self.kind = torch.unique(pieces, dim=0, return_inverse=True)
        self.down = classes.to(atoms)
        self.up = self.pseudo_inverse.at(hr[:, :, None], lr[:, None, :]).to(atoms)

    def shifted_product(self, shift: int) -> Banded:
        """The banded matrix D⁺[p, j] · D⁺[p, j + shift]."""
        if shift not in self._products:
            rows, columns, values = self.pseudo_inverse.entries()
            values = values * self.pseudo_inverse.at(rows, columns + shift)
            keep = values.abs() > self._negligible
            shape = self.pseudo_inverse.shape
            self._products[shift] = Banded.from_entries(rows[keep], columns[keep], values[keep], shape)
        return self._products[shift]


def _channel_variance(sigma2: Tensor, atoms: Tensor, rows: _AtomAxis, columns: _AtomAxis, scale: int) -> Tensor:
    """One colour channel: sigma2 (C, h, w), atoms (C, k, k) → (1, H, W)."""
    k, (h, w) = atoms.shape[-1], sigma2.shape[1:]
    reach_v, reach_h = 2 * rows.reach, 2 * columns.reach
    # Offsets of pairs of LR pixels, one of each pair (d, −d).
    offsets = [(dv, dh) for dv in range(reach_v + 1) for dh in range(-reach_h, reach_h + 1) if dv > 0 or dh >= 0]
    moments = sigma2.new_zeros(len(offsets), h + reach_v, w + reach_h)
    local = sigma2.new_empty(k * k, h, w)
    for top in range(0, h, _BAND):
        band = slice(top, min(top + _BAND, h))
        cross, second = _band_moments(sigma2[:, band], atoms, rows, columns, band)
        # Cov[z, Pz] on the patch's own pixels.
        up_v = rows.up[band].permute(1, 2, 0)[:, None, :, None, :, None]  # (k, 1, e_v, 1, rows, 1)
        up_h = columns.up.permute(1, 2, 0)[None, :, :, None, :]  # (1, k, e_h, 1, w)
        mixed = ((cross * up_v).sum(2) * up_h).sum(2).flatten(0, 1)
        own = (atoms.flatten(1).square().T @ sigma2[:, band].flatten(1)).view_as(mixed)
        local[:, band] = own - 2 * mixed
        _accumulate(moments[:, band.start : band.stop + reach_v], second, offsets, w)
    variance = synthesize_patches(local[None], k, scale)[0]
    inner = moments[:, rows.reach : rows.reach + h, columns.reach : columns.reach + w]
    for (dv, dh), moment in zip(offsets, inner, strict=True):
        spread = columns.shifted_product(dh).apply(rows.shifted_product(dv).apply(moment, -2), -1)
        variance += (1 if (dv, dh) == (0, 0) else 2) * spread
    return variance


def _band_moments(
    sigma2: Tensor, atoms: Tensor, rows: _AtomAxis, columns: _AtomAxis, band: slice
) -> tuple[Tensor, Tensor]:
    """For the patches of a band of LR rows: Σ_c σ²_c atom_c (D atom_c) and Σ_c σ²_c (D atom_c)(D atom_c).

    Shapes: sigma2 (C, rows, w) → (k, k, e_v, e_h, rows, w) and (e_v, e_h, e_v, e_h, rows, w).
    """
    k = atoms.shape[-1]
    e_v, e_h = 2 * rows.reach + 1, 2 * columns.reach + 1
    size = sigma2.shape[1:]
    cross = sigma2.new_empty(k * k * e_v * e_h, *size)
    second = sigma2.new_empty((e_v * e_h) ** 2, *size)
    kinds = rows.kind[band]
    for i_kind in kinds.unique().tolist():
        for j_kind in columns.kind.unique().tolist():
            # Places of one kind are all but the few nearest a border, and lie side by side.
            i, j = _run(kinds == i_kind), _run(columns.kind == j_kind)
            lr = (rows.down[i_kind] @ atoms @ columns.down[j_kind].T).flatten(1)  # D atom, (C, e_v·e_h)
            weights = sigma2[:, i, j].flatten(1)
            block = (i.stop - i.start, j.stop - j.start)
            products = (atoms.flatten(1)[:, :, None] * lr[:, None]).flatten(1)
            cross[:, i, j] = (products.T @ weights).unflatten(1, block)
            products = (lr[:, :, None] * lr[:, None]).flatten(1)
            second[:, i, j] = (products.T @ weights).unflatten(1, block)
    return cross.view(k, k, e_v, e_h, *size), second.view(e_v, e_h, e_v, e_h, *size)


def _run(mask: Tensor) -> slice:
    """The run of places where a mask is true."""
    places = mask.nonzero().flatten()
    return slice(int(places[0]), int(places[-1]) + 1)


def _accumulate(moments: Tensor, second: Tensor, offsets: list[tuple[int, int]], w: int) -> None:
    """Add the covariances of the LR images of a band of patches to S_d[j], padded by the reach on every side.

    A patch at (i, j) contributes its entry (e, f; e + dv, f + dh) to S_(dv, dh) at padded place (i + e, j + f).
    """
    e_v, e_h, _, _, height, _ = second.shape
    for moment, (dv, dh) in zip(moments, offsets, strict=True):
        for e in range(e_v - dv):
            for f in range(max(0, -dh), e_h - max(0, dh)):
                moment[e : e + height, f : f + w] += second[e, f, e + dv, f + dh]
