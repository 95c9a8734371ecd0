"""What is replayed on a GPU is what was asked for; elsewhere functions are just called."""

import pytest
import torch
from torch import Tensor, nn

from vspsr.training.graphs import Graphs


def test_without_a_gpu_the_function_is_called() -> None:
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(x)
        return x.square().sum()

    graphs, x = Graphs(), torch.ones(3, requires_grad=True)
    for _ in range(2):
        graphs(graphs, function, x).backward()
    assert len(calls) == 2
    assert x.grad is not None
    assert x.grad.tolist() == [4.0] * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replays_have_the_values_and_gradients_of_calls() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 4, 3, stride=2))
    network.requires_grad_(False).eval().cuda()
    graphs, calls = Graphs(), []

    def function(truth: Tensor, sample: Tensor) -> Tensor:
        calls.append(None)
        with torch.autocast("cuda", torch.bfloat16):
            with torch.no_grad():
                seen = network(truth)
            return (network(sample).float() - seen.float()).square().mean()

    for step in range(6):
        size = 16 if step < 4 else 12
        truth, sample = torch.rand(2, 2, 3, size, size, device="cuda").unbind()
        owner = (graphs, network)[step % 2]
        results = []
        for call in (lambda *t, o=owner: graphs(o, function, *t), function):
            leaf = sample.clone().requires_grad_()
            value = call(truth, leaf)
            value.backward()
            results.append((value.detach().clone(), leaf.grad))
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-7)
    captured, called = 4, 6  # two owners, two sizes; each capture calls some times
    before = len(calls)
    graphs(graphs, function, truth, sample.requires_grad_())
    assert len(calls) == before >= captured + called
