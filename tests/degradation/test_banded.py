"""Banded matrices against the same algebra on dense ones."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vspsr.degradation.banded import Banded


class Case(NamedTuple):
    """A matrix as single entries, some at the same place, and dense."""

    rows: Tensor
    columns: Tensor
    values: Tensor
    shape: tuple[int, int]

    @property
    def banded(self) -> Banded:
        return Banded.from_entries(self.rows, self.columns, self.values, self.shape)

    @property
    def dense(self) -> Tensor:
        return torch.zeros(self.shape, dtype=torch.float64).index_put_(
            (self.rows, self.columns), self.values, accumulate=True
        )


def case(n_out: int, n_in: int, width: int, seed: int, empty: float = 0.2) -> Case:
    """Runs of up to ``width`` columns along a diagonal, some rows empty, some entries given twice."""
    generator = torch.Generator().manual_seed(seed)
    start = (torch.arange(n_out) * n_in // n_out + torch.randint(-2, 3, (n_out,), generator=generator)).clamp(0)
    columns = start[:, None] + torch.arange(width)
    keep = (columns < n_in) & (torch.rand(n_out, 1, generator=generator) >= empty)
    keep &= torch.rand(n_out, width, generator=generator) < 0.8
    rows = torch.arange(n_out)[:, None].expand_as(columns)[keep]
    columns = columns[keep]
    twice = torch.rand(len(rows), generator=generator) < 0.2
    rows, columns = torch.cat([rows, rows[twice]]), torch.cat([columns, columns[twice]])
    order = torch.randperm(len(rows), generator=generator)
    values = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    return Case(rows[order], columns[order], values, (n_out, n_in))


# Beyond 64 rows a matrix is more than one block.
SIZES = st.one_of(st.integers(1, 12), st.integers(60, 140))
CASES = st.builds(case, SIZES, SIZES, st.integers(1, 9), st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0]))


@given(CASES)
def test_entries_go_in_and_come_out(c: Case) -> None:
    assert c.banded.shape == c.shape
    torch.testing.assert_close(c.banded.dense(), c.dense, rtol=0, atol=1e-14)
    rows, columns, values = c.banded.entries()
    assert (values != 0).all()
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows)
    again = Banded.from_entries(rows, columns, values, c.shape)
    assert torch.equal(again.dense(), c.banded.dense())


@given(CASES)
def test_transpose(c: Case) -> None:
    assert c.banded.transposed.shape == c.shape[::-1]
    assert torch.equal(c.banded.transposed.dense(), c.banded.dense().T)


@given(CASES, SIZES, st.integers(1, 5), st.integers(0, 1000))
def test_compose_is_the_matrix_product(c: Case, n_in: int, width: int, seed: int) -> None:
    other = case(c.shape[1], n_in, width, seed)
    product = c.banded.compose(other.banded)
    torch.testing.assert_close(product.dense(), c.dense @ other.dense, rtol=0, atol=1e-12)
    trimmed = c.banded.compose(other.banded, tolerance=0.5).dense()
    expected = product.dense()
    assert torch.equal(trimmed, expected.where(expected.abs() >= 0.5, torch.zeros(())))


def test_padding_beyond_the_last_column_does_not_widen_a_product() -> None:
    """A row that ends at the border has padding that points beyond it."""
    padded = Banded(torch.tensor([0, 2]), torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]).double(), 3)
    product = padded.compose(padded.transposed)
    assert product.weights.shape[1] == 2
    torch.testing.assert_close(product.dense(), padded.dense() @ padded.dense().T)


@given(CASES)
def test_entries_at_places_inside_and_outside(c: Case) -> None:
    rows, columns = torch.arange(-2, c.shape[0] + 2)[:, None], torch.arange(-3, c.shape[1] + 3)
    expected = torch.nn.functional.pad(c.banded.dense(), (3, 3, 2, 2))
    assert torch.equal(c.banded.at(rows, columns), expected)


@given(CASES, st.data())
def test_part_is_some_rows_over_the_columns_they_touch(c: Case, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, c.shape[0] - 1))
    last = data.draw(st.integers(first + 1, c.shape[0]))
    banded = c.banded
    left, part = banded.part(slice(first, last))
    width = part.shape[1]
    assert 0 <= left <= left + width <= c.shape[1]
    whole = banded.dense()[first:last]
    assert torch.equal(part.dense(), whole[:, left : left + width])
    assert not whole[:, :left].any()
    assert not whole[:, left + width :].any()
    assert banded.part(slice(first, last))[1] is part  # kept for the next image


@given(CASES, st.data())
def test_a_dense_part(c: Case, data: st.DataObject) -> None:
    rows, columns = (slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in c.shape)
    assert torch.equal(c.banded.dense(rows, columns), c.banded.dense()[rows, columns])


@settings(max_examples=60)
@given(CASES, st.integers(1, 5), st.lists(st.integers(1, 3), max_size=2), st.integers(0, 1000))
def test_apply_along_both_axes(c: Case, other: int, lead: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*lead, c.shape[1], other, generator=generator, dtype=torch.float64)
    banded = c.banded
    torch.testing.assert_close(banded.apply(x, -2), c.dense @ x, rtol=0, atol=1e-12)
    torch.testing.assert_close(banded.apply(x.mT, -1), x.mT @ c.dense.T, rtol=0, atol=1e-12)
    single = banded.apply(x.float(), -2)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), c.dense @ x, rtol=0, atol=1e-4)


def test_apply_is_differentiable_and_does_not_change_its_argument() -> None:
    banded = case(70, 20, 4, seed=1, empty=0).banded
    x = torch.randn(2, 20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = x.detach().clone()
    assert torch.autograd.gradcheck(lambda t: banded.apply(t, -2), x)
    assert torch.autograd.gradcheck(lambda t: banded.apply(t, -1), x.detach().mT.requires_grad_())
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize("dim", [-1, -2])
def test_a_wrong_length_is_named(dim: int) -> None:
    banded = case(4, 6, 2, seed=0).banded
    with pytest.raises(ValueError, match=f"`x` must have 6 entries along axis {dim}, got 5"):
        banded.apply(torch.zeros(5, 5), dim)
