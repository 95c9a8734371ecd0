"""The torchmetrics classes: the same as the functions, merged across processes, infinite values counted."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vspsr import Degradation
from vspsr.metrics import (
    LEVELS,
    Backend,
    Calibration,
    calibrate,
    diversity_score,
    lr_mismatches,
    lr_psnr,
    pixel_stddev,
    psnr,
    ssim,
)

pytest.importorskip("torchmetrics", reason="the package torchmetrics (extra eval) is not installed")
from vspsr.metrics.accumulators import (
    LRPSNR,
    PSNR,
    SSIM,
    CalibrationTally,
    Diversity,
    LRMismatches,
    PairwiseDistance,
    PerceptualDistance,
    PixelStddev,
)


class Tiny(nn.Module):
    """A perceptual distance of one small layer, laid out as lpips.LPIPS."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.scaling_layer = nn.Module()
        self.scaling_layer.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.scaling_layer.register_buffer("scale", torch.ones(1, 3, 1, 1))
        self.net, self.lin0 = nn.Module(), nn.Conv2d(4, 1, 1, bias=False)
        conv = nn.Conv2d(3, 4, 3, stride=2)
        self.net.slice1 = nn.Sequential(conv, nn.ReLU())
        for parameter in self.parameters():
            parameter.data = torch.rand(parameter.shape, generator=generator) - 0.3
        self.lin0.weight.data.abs_()


def images(seed: int, n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(60, 190, (3, 16 + 8 * (seed % 2), 24), generator=generator)
    return (truth + torch.randint(-40, 40, (n, *truth.shape), generator=generator)).int(), truth.int()


def metrics() -> dict[str, Any]:
    backend, degradation = Backend(Tiny(), "tiny", "0", min_size=8), Degradation(4)
    return {
        "psnr": PSNR(channel="y", border=2),
        "ssim": SSIM(),
        "lr_psnr": LRPSNR(degradation),
        "lr_mismatches": LRMismatches(degradation, against="hr"),
        "perceptual": PerceptualDistance(backend),
        "pairwise": PairwiseDistance(backend),
        "stddev": PixelStddev(),
        "diversity": Diversity(3),
        "calibration": CalibrationTally(3),
    }


def update(all_metrics: dict[str, Any], seed: int) -> None:
    samples, truth = images(seed)
    backend = all_metrics["perceptual"].backend
    for name, metric in all_metrics.items():
        if name in ("psnr", "ssim", "lr_psnr", "lr_mismatches"):
            metric.update(samples, truth)
        elif name == "stddev":
            metric.update(samples)
        elif name == "pairwise":
            metric.update(samples / 255)
        elif name == "diversity":
            metric.update(backend.maps(samples / 255, truth / 255))
        else:
            metric.update(samples / 255, truth / 255)


def results(all_metrics: dict[str, Any]) -> dict[str, list[float]]:
    out = {}
    for name, metric in all_metrics.items():
        value = metric.compute()
        out[name] = [float(v) for t in value.values() for v in t.flatten()]
    return out


def test_equal_the_functions() -> None:
    filled, backend, degradation = metrics(), Backend(Tiny(), "tiny", "0", min_size=8), Degradation(4)
    tallies, wanted = [], {name: [] for name in filled}
    for seed in range(4):
        update(filled, seed)
        samples, truth = images(seed)
        score = backend.score(samples / 255, truth / 255, pairwise=True)
        wanted["psnr"] += psnr(samples, truth, channel="y", border=2).tolist()
        wanted["ssim"] += ssim(samples, truth).tolist()
        wanted["lr_psnr"] += lr_psnr(samples, truth, degradation).tolist()
        wanted["lr_mismatches"] += lr_mismatches(samples, truth, degradation, against="hr").tolist()
        wanted["perceptual"] += score.maps.double().mean((1, 2)).tolist()
        wanted["pairwise"].append(score.pairwise)
        wanted["stddev"].append(pixel_stddev(samples))
        wanted["diversity"].append(diversity_score(score.maps).score)
        tallies.append(calibrate(samples / 255, truth / 255))
    for name, values in wanted.items():
        if name == "calibration":
            whole = tallies[0] + tallies[1] + tallies[2] + tallies[3]
            result = filled[name].compute()
            assert result["numbers"].tolist() == pytest.approx(whole.numbers())
            assert Calibration.from_numbers(result["numbers"].tolist(), 3).n_images == 4
            assert float(result["crps"]) == pytest.approx(whole.samples.crps)
            assert result["coverage"].tolist() == pytest.approx([whole.samples.coverage(p) for p in LEVELS])
            continue
        result = filled[name].compute()
        worst = min if filled[name].higher_is_better else max
        assert float(result["mean"]) == pytest.approx(sum(values) / len(values)), name
        assert float(result["worst"]) == pytest.approx(worst(values)), name
        assert int(result["finite"]) == len(values)
        assert int(result["infinite"]) == int(result["undefined"]) == 0
    curve = filled["diversity"].compute()["curve"]
    assert curve.shape == (3,)
    assert float(curve[0]) == 0
    assert float(curve[-1]) == pytest.approx(float(filled["diversity"].compute()["mean"]))


def test_merging_equals_seeing_everything() -> None:
    whole, first, second = metrics(), metrics(), metrics()
    for seed in range(5):
        update(whole, seed)
        update(first if seed < 2 else second, seed)
    for name in whole:
        first[name].merge_state(second[name])
    for name, values in results(whole).items():
        assert results(first)[name] == pytest.approx(values, nan_ok=True), name
    whole["psnr"].reset()
    assert int(whole["psnr"].finite) == 0


def test_infinite_values_are_counted_not_averaged_away() -> None:
    a, b = images(0)[0][0], images(0)[1]
    metric = PSNR()
    metric.update(torch.stack([a, b, b]), b)
    result = metric.compute()
    assert float(result["mean"]) == pytest.approx(float(psnr(a, b)))
    assert float(result["worst"]) == float(result["mean"])
    assert (int(result["finite"]), int(result["infinite"])) == (1, 2)
    perfect = PSNR()
    perfect.update(b, b)
    assert float(perfect.compute()["mean"]) == float(perfect.compute()["worst"]) == math.inf
    assert int(perfect.compute()["infinite"]) == 1


def test_undefined_scores_are_counted() -> None:
    metric = Diversity(2)
    maps = torch.rand(2, 8, 8)
    metric.update(maps)
    metric.update(torch.stack([maps[0], torch.zeros(8, 8)]))
    result = metric.compute()
    assert float(result["mean"]) == pytest.approx(diversity_score(maps).score)
    assert (int(result["finite"]), int(result["undefined"])) == (1, 1)
    assert float(result["global_best"]) == pytest.approx(diversity_score(maps).global_best / 2)
    with pytest.raises(ValueError, match="`maps` must be of 2 samples, got 3"):
        metric.update(torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="2 samples with `mean` and `stddev` expected, got 3 without"):
        CalibrationTally(2, gaussian=True).update(torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8))


def _process(rank: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    filled = metrics()
    for seed in range(rank, 5, 2):
        update(filled, seed)
    torch.save(results(filled), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_same_numbers(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_process, (str(tmp_path),), nprocs=2)
    whole = metrics()
    for seed in range(5):
        update(whole, seed)
    for rank in range(2):
        for name, values in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            assert values == pytest.approx(results(whole)[name], nan_ok=True), name


def test_directions_are_stated() -> None:
    up = {name: metric.higher_is_better for name, metric in metrics().items()}
    assert up == {
        "psnr": True,
        "ssim": True,
        "lr_psnr": True,
        "lr_mismatches": False,
        "perceptual": False,
        "pairwise": None,
        "stddev": None,
        "diversity": True,
        "calibration": None,
    }
