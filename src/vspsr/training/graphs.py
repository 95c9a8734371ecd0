"""Parts of a step as CUDA graphs: on a GPU, hundreds of small kernels cost more to launch than to run."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Graphs:
    """Calls a function of tensors; on a GPU by replaying what it did at the first call with tensors of these shapes.

    Replays write over what the last one left: of one owner and these shapes, the gradient of a call must be taken
    before the next call.
    """

    def __init__(self) -> None:
        self._graphs: dict[Any, Callable[..., Tensor]] = {}

    def __call__(self, owner: object, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """``function(*tensors)``.

        Args:
            owner: what the function belongs to; one that lives as long as this object.
            function: of these tensors alone: what else it reads must not change, nor move, while this object lives.
        """
        if not all(t.is_cuda for t in tensors) or not torch.is_grad_enabled():
            return function(*tensors)
        key = id(owner), tuple((t.shape, t.dtype, t.requires_grad) for t in tensors)
        if key not in self._graphs:
            examples = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in tensors)
            graphed: Any = torch.cuda.make_graphed_callables(function, examples)  # type: ignore[no-untyped-call]
            self._graphs[key] = graphed
        return self._graphs[key](*tensors)
