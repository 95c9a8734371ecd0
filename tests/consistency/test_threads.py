"""Threads of PyTorch: one within `one_thread` and within the search for exact integers, as many as before outside."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vspsr import Degradation, quantize
from vspsr.consistency import solve
from vspsr.consistency.threads import one_thread
from vspsr.consistency.windows import Problem


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_one_thread_within_and_as_many_as_before_after_it() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3


def test_a_thread_that_has_used_torch_keeps_its_own() -> None:
    ready, narrow, seen = threading.Event(), threading.Event(), list[int]()

    def work() -> None:
        seen.append(torch.get_num_threads())
        ready.set()
        narrow.wait()
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    with one_thread():
        narrow.set()
        thread.join()
    assert seen == [3, 3]


def test_the_search_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def spied(problem: Problem, every: int) -> Iterator[Tensor]:
        seen.add(torch.get_num_threads())
        return iterates(problem, every)

    iterates = solve.splitting_iterates
    monkeypatch.setattr(solve, "splitting_iterates", spied)
    i, degradation = torch.arange(96), Degradation(4)
    board = 255 * ((i[:, None] // 8 + i // 8) % 2)[None]
    assert quantize(torch.full((1, 96, 96), 0.5), degradation.down_integers(board), degradation).exact
    assert seen == {1}
    assert torch.get_num_threads() == 3
