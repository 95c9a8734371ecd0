"""Integers of single blocks that libjpeg transforms and quantises to given coefficients.

Rounding an image moves each DCT coefficient by about 0.3 levels, which is much where quantisation steps are 1 or 2.
Searches replace it: `search_planes` finds integers of Y, Cb and Cr, block by block, and `pixels_for` finds RGB for
them; `search_mcus` mends what is left at the ends of the range. All are deterministic.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vspsr.degradation.jpeg import blocks_of, dct, dct_matrix, mean_bias, plane_of, quantised, rgb_to_ycc
from vspsr.degradation.jpeg_set import JpegSet

_MOVES = 150  # of the search, which ends at the first member
_TENURE, _TENURE_SHARE = 10, 4  # moves during which a changed value is left alone; of few values at most a quarter
_IMPORTANCE = (1000.0, 1.0, 1.0)  # of a miss of Y, Cb and Cr: Y must be met, Cb and Cr are averaged
_PAIRED = 24  # values of a block that the border cuts, up to which two are changed at once
_KEPT, _AROUND = 4096, 4  # beginnings of such a block that are kept, and levels around the best of each value
_MOST = 64.0  # the largest cost of a member, whose 64 coefficients are off by at most 1 each
_FORBIDDEN = 1e9
_EDGE = 1 / 16  # levels: libjpeg's coefficients are multiples of 1/8, and one end of each interval is not part of it
_BLOCKS, _MCUS = 64, 32  # treated at once: more take more memory


def search_planes(
    planes: Tensor, integers: Tensor, steps: Tensor, rows: Tensor, columns: Tensor, alternate: bool = False
) -> Tensor:
    """Integers near 8×8 planes whose coefficients are given, as far as they are found.

    A tabu search: of all changes of one value by 1, the one that brings the coefficients nearest to their intervals
    (sum of the distances) is made, even if they were nearer before. Values changed a short time ago are left alone.

    Args:
        planes: (B, 8, 8) float64.
        integers, steps: the coefficients wanted and their quantisation steps, (B, 8, 8) float64.
        rows, columns: (B, 8): from which row and column of its plane each is copied.
        alternate: copied columns are means of copies, rounded with another bias in turn: in columns of odd numbers a
            value may be larger by 1 than in those of even numbers.

    Returns:
        (B, 8, 8) float64, integers 0 … 255.
    """
    out = planes.round().clamp(0, 255)
    out = out.gather(1, rows[:, :, None].expand_as(out)).gather(2, columns[:, None].expand_as(out))
    wrong = (quantised(dct(out), steps) != integers).flatten(1).any(1).nonzero()[:, 0]
    kinds, which = torch.stack([rows, columns], 1)[wrong].unique(dim=0, return_inverse=True)
    for kind, copies in enumerate(kinds):  # blocks that the border cuts in the same way
        for part in wrong[which == kind].split(_BLOCKS):
            _search(out, part, integers, steps, copies, alternate)
    return out


def _search(out: Tensor, active: Tensor, integers: Tensor, steps: Tensor, copies: Tensor, alternate: bool) -> None:
    """`search_planes` of the blocks ``active``, in place; ``copies``: (2, 8), their rows and columns."""
    (rows, columns), last = copies, int(copies[1, -1])
    if alternate:  # the second of the columns that are copies stands for every other one
        columns = columns + (torch.arange(8) - columns) % 2
    spread = torch.kron(F.one_hot(rows, 8).double(), F.one_hot(columns, 8).double())  # (place, value)
    values = spread.any(0).nonzero()[:, 0]
    moves = _moves(len(values))
    changes = (moves @ spread[:, values].T).view(-1, 8, 8)
    effects = (dct_matrix(8) @ changes @ dct_matrix(8).T).flatten(1).float()
    rises, falls = (moves > 0).float().T, (moves < 0).float().T
    means = [(values % 8 == last + i).nonzero()[:, 0] for i in range(2 if alternate and last < 7 else 0)]
    even, odd = means[:: 1 - 2 * (last % 2)] if means else (values[:0], values[:0])
    if len(values) <= _PAIRED:
        _nearest_to_centres(out, active, integers, steps, spread[:, values], even, odd)
    tenure = min(max(len(values) // _TENURE_SHARE, 1), _TENURE)
    tabu = torch.zeros(len(active), len(values), dtype=torch.int64)
    own = torch.arange(len(active))
    for move in range(_MOVES):
        spectrum = dct(out[active])
        wrong = (quantised(spectrum, steps[active]) != integers[active]).flatten(1).any(1)
        active, own, spectrum = active[wrong], own[wrong], spectrum[wrong]
        if not len(active):
            return
        off = (spectrum / 8 - integers[active] * steps[active]).flatten(1)[:, None].float()
        half = steps[active].flatten(1)[:, None].float() / 2 - _EDGE
        now = out[active].flatten(1)[:, values]
        high, low, blocked = (now > 254).float(), (now < 1).float(), (tabu[own] > move).float() @ (rises + falls)
        larger = (now[:, odd] > now[:, even]).float()
        high[:, odd] += larger
        low[:, odd] += 1 - larger
        high[:, even] += 1 - larger
        low[:, even] += larger
        up = torch.add(off, effects).abs_().sub_(half).relu_().sum(-1)
        down = torch.sub(off, effects).abs_().sub_(half).relu_().sum(-1)
        up.masked_fill_(blocked + high @ rises + low @ falls > 0, _FORBIDDEN)
        down.masked_fill_(blocked + high @ falls + low @ rises > 0, _FORBIDDEN)
        best = torch.cat([up, down], 1).argmin(1)
        kind, sign = best % len(moves), 1.0 - 2.0 * (best >= len(moves))
        out[active] += sign[:, None, None] * changes[kind]
        tabu[own] = torch.where(moves[kind] != 0, move + tenure, tabu[own])


def _nearest_to_centres(
    out: Tensor, active: Tensor, integers: Tensor, steps: Tensor, spread: Tensor, even: Tensor, odd: Tensor
) -> None:
    """In place where it finds integers: those nearest to the centres of the intervals.

    Value by value, the best `_KEPT` beginnings are kept: a K-best sphere decoder (Guo & Nilsson, JSAC 2006) in the
    metric that takes half a step as 1, in which each coefficient may be off by 1.
    """
    matrix, around = dct_matrix(8), torch.arange(-_AROUND, _AROUND + 1)
    effects = (matrix @ spread.T.view(-1, 8, 8) @ matrix.T).flatten(1)
    for b in active:
        before, weight = out[b].flatten()[spread.argmax(0)], 2 / steps[b].flatten()
        q, r = torch.linalg.qr((effects * weight).T)
        target = (integers[b] * steps[b] - dct(out[b]) / 8).flatten() * weight @ q
        changes, cost = before.new_zeros(1, len(before)), before.new_zeros(1)
        for i in reversed(range(len(before))):
            rest = target[i] - changes[:, i + 1 :] @ r[i, i + 1 :]
            tried = (rest / r[i, i]).round()[:, None] + around
            allowed = ((before[i] + tried) >= 0) & ((before[i] + tried) <= 255)
            costs = (cost[:, None] + (rest[:, None] - r[i, i] * tried).square()).where(allowed, _FORBIDDEN).flatten()
            cost, best = costs.topk(min(_KEPT, int((costs <= _MOST).sum())), largest=False)
            changes = changes[best // len(around)]
            changes[:, i] = tried.flatten()[best]
        found = before + changes
        found = found[((found[:, odd] - found[:, even] - 0.5).abs() < 1).all(1)]
        blocks = (found @ spread.T).view(-1, 8, 8)
        fits = (quantised(dct(blocks), steps[b]) == integers[b]).flatten(1).all(1).nonzero()
        if len(fits):
            out[b] = blocks[fits[0, 0]]


def _moves(count: int) -> Tensor:
    """Changes of values that are tried, up to the sign, (moves, count): of one value; of two, if there are few."""
    single = torch.eye(count, dtype=torch.float64)
    if count > _PAIRED or count == 1:
        return single
    first, second = torch.combinations(torch.arange(count)).T
    return torch.cat([single, single[first] + single[second], single[first] - single[second]])


def pixels_for(targets: Tensor, jpeg_set: JpegSet, index: Tensor, around: int) -> Tensor:
    """RGB integers of MCUs whose Y is given exactly and whose mean Cb and Cr are given, as far as they exist.

    What Cb and Cr of a pixel miss is added to the target of the next pixel that is averaged with it.

    Args:
        targets: (N, 3, V, H) float64, YCbCr, 0 … 255; integers of Y.
        jpeg_set, index: see `JpegSet`.
        around: levels around the exact RGB that are tried.

    Returns:
        (N, 3, V, H) float64, integers 0 … 255.
    """
    out = torch.empty_like(targets)
    down, across = jpeg_set.code.sampling
    side = torch.arange(-around, around + 1, dtype=torch.float64)
    offsets = torch.cartesian_prod(side, side, side)[:, None, :, None, None]
    inverse = jpeg_set.colours_back
    rows, columns = jpeg_set.used
    for part in torch.arange(len(targets)).split(_MCUS):
        carried = targets.new_zeros(())
        for place in reversed(range(down * across)):  # the last column first: its copies may lie beyond the border
            i, j = place % down, place // down
            wanted = targets[part, :, i::down, j::across].clone()
            wanted[:, 1:] += carried
            exact = torch.einsum("ij,njvh->nivh", inverse, wanted - wanted.new_tensor([0, 128, 128])[:, None, None])
            tried = exact.round().clamp(0, 255) + offsets
            miss = rgb_to_ycc(tried) - wanted
            cost = miss.square_() * miss.new_tensor(_IMPORTANCE)[:, None, None]
            cost = cost.sum(2).masked_fill_(((tried < 0) | (tried > 255)).any(2), _FORBIDDEN)
            best = cost.argmin(0)[None, :, None].expand(1, *exact.shape)
            chosen = tried.gather(0, best)[0]
            out[part, :, i::down, j::across] = chosen
            inside = (torch.arange(i, jpeg_set.shape[0], down) < rows[index[part], None])[:, :, None]
            inside = inside & (torch.arange(j, jpeg_set.shape[1], across) < columns[index[part], None])[:, None]
            carried = (wanted - rgb_to_ycc(chosen))[:, 1:] * inside[:, None]
    return out


def search_mcus(mcus: Tensor, jpeg_set: JpegSet, index: Tensor) -> Tensor:
    """RGB integers near MCUs that are nearly the file's: a tabu search as `search_planes`, on pixels.

    A move changes each channel of one pixel by at most 1, within the range. Where the border cuts an MCU, pixels whose
    Cb and Cr are copied change in grey only. MCUs are (N, C, V, H), integers 0 … 255; ``index``: see `JpegSet`.
    """
    out = mcus.clone()
    side = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    offsets = torch.cartesian_prod(*[side] * jpeg_set.channels).view(-1, 1, jpeg_set.channels, 1, 1)
    for part in filter(len, torch.arange(len(out)).split(_MCUS)):
        active, tabu = part, torch.zeros(len(out), *jpeg_set.shape, dtype=torch.int64)
        tenure = (_inside(jpeg_set, index, with_last=True).flatten(1).sum(1) // _TENURE_SHARE).clamp(1, _TENURE)
        for move in range(_MOVES):
            active = active[jpeg_set.wrong_coefficients(out[active], index[active]) > 0]
            if not len(active):
                break
            tried = out[active] + offsets
            cost = _move_costs(out[active], tried, jpeg_set, index[active])
            cost.masked_fill_(((tried < 0) | (tried > 255)).any(2) | (tabu[active] > move), _FORBIDDEN)
            cost[len(offsets) // 2] = _FORBIDDEN  # no change
            best = cost.transpose(0, 1).flatten(1).argmin(1)
            kind, place = best // tabu[0].numel(), best % tabu[0].numel()
            row, column = place // jpeg_set.shape[1], place % jpeg_set.shape[1]
            out[active, :, row, column] += offsets[kind].flatten(1)
            tabu[active, row, column] = move + tenure[active]
    return out


def _move_costs(mcus: Tensor, tried: Tensor, jpeg_set: JpegSet, index: Tensor) -> Tensor:
    """By how much the distance to the intervals grows if one pixel takes a value tried: (K, N, V, H)."""
    down, across = jpeg_set.code.sampling
    before, after = (rgb_to_ycc(x) if jpeg_set.channels == 3 else x.float() for x in (mcus, tried))
    total = torch.zeros(len(tried), *mcus[:, 0].shape, dtype=torch.float64)
    total += _FORBIDDEN * ~_inside(jpeg_set, index, with_last=True)
    copied = ~_inside(jpeg_set, index, with_last=False)
    for c, plane in enumerate(jpeg_set.planes(mcus, index)):
        change = after[:, :, c] - before[:, c]
        steps = blocks_of(jpeg_set.steps[c]).flatten(-2)[..., None, :]
        wanted = blocks_of(jpeg_set.integers[c][index]).flatten(-2)[..., None, :] * steps
        off = dct(blocks_of(plane)).flatten(-2)[..., None, :] / 8 - wanted
        rows, columns = (
            (_of_blocks(m[index]) for m in jpeg_set.maps[0][:2]) if c == 0 else [dct_matrix(8)[None, None]] * 2
        )
        effects = torch.einsum("nbki,ncjl->nbcijkl", rows, columns.mT).flatten(-4, -3).flatten(-2)
        excess = [((off + d * effects).abs_() - (steps / 2 - _EDGE)).clamp_(min=0).sum(-1) for d in (-1, 0, 1)]
        table = plane_of(torch.stack([e - excess[1] for e in excess]).unflatten(-1, (8, 8)))  # (change, N, m, n)
        if c:
            total += _FORBIDDEN * ((change != 0) & copied)
        if c and down * across > 1:
            sums = before[:, c].unflatten(-1, (-1, across)).sum(-1).unflatten(-2, (-1, down)).sum(-2)
            sums += mean_bias(down, across, sums.shape[-1])
            repeated = (x.repeat_interleave(down, -2).repeat_interleave(across, -1) for x in (sums, plane, table))
            sums, means, table = repeated
            change = (((sums + change) / (down * across)).floor() - means).clamp(-1, 1)
        total += table.gather(0, change.long() + 1)
    return total


def _of_blocks(maps: Tensor) -> Tensor:
    """Maps of an MCU's rows to coefficients, (N, m, m), as those of its blocks, (N, m/8, 8, 8)."""
    return maps.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _inside(jpeg_set: JpegSet, index: Tensor, with_last: bool) -> Tensor:
    """Which pixels of MCUs lie in the picture, (N, V, H), with or without the last ones before the border."""
    masks = []
    for length, used, sampled in zip(jpeg_set.shape, jpeg_set.used, jpeg_set.code.sampling, strict=True):
        limit = used[index] if with_last else torch.where(used < length, (used - 1) // sampled * sampled, used)[index]
        masks.append(torch.arange(length) < limit[:, None])
    return masks[0][:, :, None] & masks[1][:, None]
