"""The transform that JPEG blocks and training losses share."""

import pytest
import scipy.fft
import torch

from vspsr.degradation.jpeg import dct_matrix


@pytest.mark.parametrize("n", [1, 8, 16, 21])
def test_the_dct_is_scipys_in_full_precision(n: int) -> None:
    eye = torch.eye(n, dtype=torch.float64)
    wanted = torch.from_numpy(scipy.fft.dct(eye.numpy(), norm="ortho", axis=0))
    torch.testing.assert_close(dct_matrix(n), wanted, rtol=0, atol=1e-14)
    torch.testing.assert_close(dct_matrix(n) @ dct_matrix(n).T, eye, rtol=0, atol=1e-14)
