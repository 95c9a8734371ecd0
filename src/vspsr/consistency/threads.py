"""Work on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes on the calling thread alone within it: sums have the same order on every machine.

    Small operations are faster so, and many times faster beside other load: several threads wait for each other after
    each. Of other threads it concerns those that use PyTorch for the first time meanwhile: they stay at one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
