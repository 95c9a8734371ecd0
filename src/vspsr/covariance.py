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

from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.banded import Banded
from vspsr.degradation import Degradation
from vspsr.nn.parameters import synthesize_patches

__all__ = ["PatchFactor", "projected_variance"]


@dataclass(frozen=True)
class PatchFactor:
    """Cholesky factor of the covariance Bᵀ diag(σ²) B of the patch at every LR pixel.

    With C atoms of D < C values (colours of a group × k × k) a patch is a Gaussian of D dimensions only: D normals
    through the factor have the same distribution as C coefficients.

    Attributes:
        factor: (B, h, w, G, D, D), lower triangular.
    """

    factor: Tensor

    @classmethod
    def build(cls, log_var: Tensor, atoms: Tensor) -> "PatchFactor | None":
        """Factor of log-variances (B, G, C, h, w) and atoms (B, G, C, 3/G, k, k); None where it would not help."""
        basis = atoms.flatten(3)  # (B, G, C, D)
        n_atoms, dimension = basis.shape[2:]
        if n_atoms <= dimension:
            return None
        products = (basis[..., :, None] * basis[..., None, :]).flatten(3)  # (B, G, C, D·D)
        covariance = torch.einsum("bgchw,bgcd->bhwgd", log_var.exp(), products).unflatten(-1, (dimension, dimension))
        # A basis of deficient rank has a singular covariance: lift the diagonal by what rounding errors amount to.
        trace = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
        jitter = (1e-6 * trace + 1e-20)[..., None, None] * torch.eye(dimension).to(covariance)
        return cls(torch.linalg.cholesky(covariance + jitter))

    @property
    def channels(self) -> int:
        """Normals needed at each LR pixel: G·D."""
        return int(self.factor.shape[3] * self.factor.shape[4])

    def apply(self, b: int, rows: slice, eps: Tensor) -> Tensor:
        """Patches (1, G·D, rows, w) of image b for standard normals (G·D, rows, w)."""
        groups, dimension = self.factor.shape[3:5]
        normals = eps.permute(1, 2, 0).unflatten(-1, (groups, dimension, 1))
        patches = (self.factor[b, rows] @ normals).flatten(-3)
        return patches.permute(2, 0, 1)[None]


def projected_variance(variance: Tensor, atoms: Tensor, degradation: Degradation) -> Tensor:
    """Variance of every pixel of (I − D⁺D) z: (B, channels, H, W).

    Args:
        variance: σ², (B, G, C, h, w).
        atoms: (B, G, C, 3/G, k, k).
        degradation: D.
    """
    h, w = variance.shape[-2:]
    rows, columns = _Axis(degradation, h, atoms), _Axis(degradation, w, atoms)
    images = []
    for sigma2, basis in zip(variance, atoms, strict=True):
        channels = [
            _channel_variance(sigma2[g], basis[g, :, c], rows, columns, degradation.scale)
            for g in range(basis.shape[0])
            for c in range(basis.shape[2])
        ]
        images.append(torch.cat(channels))
    return torch.stack(images).clamp_min(0)


class _Axis:
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
        self.n_lr = n_lr
        down = degradation.axis(n)
        self.pseudo_inverse = degradation.axis_pseudo_inverse(n, atoms.dtype)
        hr = scale * torch.arange(n_lr)[:, None] - (k - scale) // 2 + torch.arange(k)  # (h, k)
        lowest, highest = down.start, down.start + down.weights.shape[1] - 1
        centre = torch.arange(n_lr)
        self.reach = 0
        for e in range(1, n_lr):
            seen = (lowest[e:] <= hr[:-e].amax(1)) | (highest[:-e] >= hr[e:].amin(1))
            if not seen.any():
                break
            self.reach = e
        lr = centre[:, None] + torch.arange(-self.reach, self.reach + 1)
        pieces = _gather(down, lr[:, :, None], hr[:, None, :])
        classes, self.kind = torch.unique(pieces, dim=0, return_inverse=True)
        self.down = classes.to(atoms)
        self.up = _gather(self.pseudo_inverse, hr[:, :, None], lr[:, None, :]).to(atoms)

    def shifted_product(self, shift: int) -> Banded:
        """The banded matrix D⁺[p, j] · D⁺[p, j + shift]."""
        rows, columns, values = self.pseudo_inverse.entries()
        other = _gather(self.pseudo_inverse, rows, columns + shift)
        keep = other != 0
        shape = self.pseudo_inverse.shape
        return Banded.from_entries(rows[keep], columns[keep], (values * other)[keep], shape)


def _gather(matrix: Banded, rows: Tensor, columns: Tensor) -> Tensor:
    """Entries of a banded matrix at broadcast (rows, columns), 0 outside of it."""
    rows, columns = torch.broadcast_tensors(rows, columns)
    inside = (rows >= 0) & (rows < matrix.shape[0]) & (columns >= 0) & (columns < matrix.shape[1])
    rows = rows.clamp(0, matrix.shape[0] - 1)
    offset = columns - matrix.start[rows]
    inside &= (offset >= 0) & (offset < matrix.weights.shape[1])
    return torch.where(inside, matrix.weights[rows, offset.clamp(0, matrix.weights.shape[1] - 1)], 0.0)


def _channel_variance(sigma2: Tensor, atoms: Tensor, rows: _Axis, columns: _Axis, scale: int) -> Tensor:
    """One colour channel: sigma2 (C, h, w), atoms (C, k, k) → (1, H, W)."""
    c, k = atoms.shape[:2]
    h, w = sigma2.shape[1:]
    flat = atoms.reshape(c, k * k)
    own = (flat.square().T @ sigma2.reshape(c, -1)).view(k * k, h, w)
    e_v, e_h = 2 * rows.reach + 1, 2 * columns.reach + 1
    mixed = torch.empty_like(own)
    offsets = _half_plane(2 * rows.reach, 2 * columns.reach)
    moments = sigma2.new_zeros(len(offsets), h + 2 * rows.reach, w + 2 * columns.reach)
    for i_kind in rows.kind.unique().tolist():
        lines = (rows.kind == i_kind).nonzero().flatten().tolist()
        for j_kind in columns.kind.unique().tolist():
            at = (columns.kind == j_kind).nonzero().flatten()
            # The LR image of every atom at such a place, (C, e_v, e_h).
            lr = rows.down[i_kind] @ atoms @ columns.down[j_kind].T
            cross = (flat[:, :, None] * lr.reshape(c, 1, -1)).reshape(c, -1)
            second = (lr.reshape(c, -1, 1) * lr.reshape(c, 1, -1)).reshape(c, -1)
            for i in lines:
                weights = sigma2[:, i, at].T
                n = (weights @ cross).view(-1, k, k, e_v, e_h)
                up = torch.einsum("ntuef,te,nuf->tun", n, rows.up[i], columns.up[at])
                mixed[:, i, at] = up.reshape(k * k, -1)
                m = (weights @ second).view(-1, e_v, e_h, e_v, e_h)
                _accumulate(moments, m, offsets, i, at)
    variance = synthesize_patches((own - 2 * mixed)[None], k, scale)[0]
    inner = moments[:, rows.reach : rows.reach + h, columns.reach : columns.reach + w]
    for (dv, dh), moment in zip(offsets, inner, strict=True):
        spread = columns.shifted_product(dh).apply(rows.shifted_product(dv).apply(moment, -2), -1)
        variance = variance + (1 if (dv, dh) == (0, 0) else 2) * spread
    return variance


def _half_plane(reach_v: int, reach_h: int) -> list[tuple[int, int]]:
    """Offsets of pairs, one of each pair (d, −d)."""
    return [
        (dv, dh)
        for dv in range(reach_v + 1)
        for dh in range(-reach_h, reach_h + 1)
        if dv > 0 or dh >= 0
    ]


def _accumulate(moments: Tensor, m: Tensor, offsets: list[tuple[int, int]], i: int, at: Tensor) -> None:
    """Add the covariances of the LR images of the patches at row i, columns ``at``, to S_d[j] (padded by the reach).

    m: (columns, e_v, e_h, e_v, e_h). At LR pixel (i + e, j + f) the padded index is (i + e + E, j + f + E).
    """
    e_v, e_h = m.shape[1:3]
    for index, (dv, dh) in enumerate(offsets):
        for e in range(max(0, -dv), e_v - max(0, dv)):
            for f in range(max(0, -dh), e_h - max(0, dh)):
                moments[index, i + e].index_add_(0, at + f, m[:, e, f, e + dv, f + dh])
