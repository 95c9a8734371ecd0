"""The losses of training: the energy score against its closed form, distances against loops, frozen features."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vspsr.errors import ModelError
from vspsr.training.features import FeatureNetwork
from vspsr.training.losses.deep import feature_energy
from vspsr.training.losses.energy import energy_score, patch_distance


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def absolute(a: Tensor, b: Tensor) -> Tensor:
    """The Euclidean distance in one dimension."""
    return (a - b).abs().mean()


def crps(x: float, mu: float, sigma: float) -> float:
    """E|S − x| − ½ E|S − S′| for S ~ N(μ, σ²): minus Gneiting & Raftery 2007, eq. 21."""
    z = (x - mu) / sigma
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return sigma * (z * math.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize(("x", "mu", "sigma"), [(0.0, 0.0, 1.0), (1.3, -0.4, 0.7), (-2.0, 1.0, 2.0)])
def test_the_energy_score_of_a_gaussian_has_the_closed_form(x: float, mu: float, sigma: float) -> None:
    n = 400_000
    first, second = mu + sigma * normal(n, seed=1), mu + sigma * normal(n, seed=2)
    found = float(energy_score(torch.full((n,), x, dtype=torch.float64), first, second, absolute))
    assert found == pytest.approx(crps(x, mu, sigma), abs=5 * 1.5 * sigma / math.sqrt(n))


def expected_score(truth: tuple[float, float], mu: float, sigma: float) -> float:
    """Monte Carlo of the score over truths N(μ₀, σ₀²); common random numbers, so that differences are sharp."""
    x = truth[0] + truth[1] * normal(200_000)
    return float(energy_score(x, mu + sigma * normal(200_000, seed=1), mu + sigma * normal(200_000, seed=2), absolute))


def test_the_true_distribution_minimises_the_energy_score() -> None:
    truth = (0.3, 0.8)
    best = expected_score(truth, *truth)
    for mu, sigma in [(0.3, 0.6), (0.3, 1.0), (0.5, 0.8), (0.1, 0.8), (0.3, 0.0)]:
        wrong = expected_score(truth, mu, sigma)
        # What the score must lose, ½∫(F − G)², by quadrature.
        grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)

        def cdf(m: float, s: float, at: Tensor = grid) -> Tensor:
            return torch.special.ndtr((at - m) / max(s, 1e-6))

        loss = float((cdf(*truth) - cdf(mu, sigma)).square().sum() * (grid[1] - grid[0]))
        assert wrong - best == pytest.approx(loss, abs=0.003)
        assert wrong > best


def test_on_patches_too_less_and_more_spread_than_the_truth_scores_worse() -> None:
    """In an image, with patch distance: what training relies on."""
    x = normal(1, 3, 256, 256)
    first, second = normal(1, 3, 256, 256, seed=1), normal(1, 3, 256, 256, seed=2)
    scores = {s: float(energy_score(x, s * first, s * second, patch_distance)) for s in (0.0, 0.6, 1.0, 1.4)}
    assert min(scores, key=scores.__getitem__) == 1.0


def loop_over_patches(a: Tensor, b: Tensor, size: int, offset: tuple[int, int]) -> float:
    found = []
    for image_a, image_b in zip(a, b, strict=True):
        for top in range(offset[0], a.shape[2] - size + 1, size):
            for left in range(offset[1], a.shape[3] - size + 1, size):
                patch = (slice(None), slice(top, top + size), slice(left, left + size))
                found.append(math.sqrt(float(((image_a[patch] - image_b[patch]) ** 2).mean())))
    return sum(found) / len(found)


@settings(max_examples=40)
@given(
    st.integers(1, 2),
    st.integers(1, 3),
    st.sampled_from([2, 4, 8]),
    st.tuples(st.integers(0, 7), st.integers(0, 7)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_patch_distance_is_a_mean_over_patches(
    batch: int, channels: int, size: int, offset: tuple[int, int], more: tuple[int, int]
) -> None:
    offset = (offset[0] % size, offset[1] % size)
    shape = (batch, channels, *(size + o + m for o, m in zip(offset, more, strict=True)))
    a, b = normal(*shape), normal(*shape, seed=1)
    assert float(patch_distance(a, b, size, offset)) == pytest.approx(loop_over_patches(a, b, size, offset), rel=1e-6)


def test_feature_energy_is_a_mean_over_places_and_layers() -> None:
    x, a, b = ([normal(2, 4, 3, 5, seed=s), normal(2, 7, 2, 2, seed=s)] for s in range(3))
    layers = []
    for maps in zip(x, a, b, strict=True):
        scores = []
        for n, i, j in _places(maps[0]):
            u, v, w = (m[n, :, i, j] / torch.linalg.vector_norm(m[n, :, i, j]) for m in maps)
            pairs = ((u, v, 0.5), (u, w, 0.5), (v, w, -0.5))
            scores.append(sum(factor * float(torch.linalg.vector_norm(p - q)) for p, q, factor in pairs))
        layers.append(sum(scores) / len(scores))
    assert float(feature_energy(x, a, b)) == pytest.approx(sum(layers) / 2, rel=1e-6)
    weighted = (3 * layers[0] + layers[1]) / 4
    assert float(feature_energy(x, a, b, weights=(6, 2))) == pytest.approx(weighted, rel=1e-6)
    with pytest.raises(ValueError, match="zip"):
        feature_energy(x, a, b[:1])


def _places(f: Tensor) -> list[tuple[int, int, int]]:
    return [(n, i, j) for n in range(f.shape[0]) for i in range(f.shape[2]) for j in range(f.shape[3])]


def test_gradients_are_those_of_finite_differences() -> None:
    x, first, second = (normal(1, 2, 5, 4, seed=s).requires_grad_() for s in range(3))
    distance = partial(patch_distance, size=2, offset=(1, 0))
    assert torch.autograd.gradcheck(lambda *images: energy_score(*images, distance), (x, first, second))


def test_equal_images_have_a_finite_gradient() -> None:
    """As at the start of training, where both samples may be the same image."""
    x = normal(1, 3, 8, 8).requires_grad_()
    energy_score(x, x, x, patch_distance).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.fixture(scope="module")
def features(shared: Path) -> nn.Module:
    return FeatureNetwork("squeezenet1_1", str(shared / "weights" / "squeezenet1_1.safetensors"))


def test_features_have_the_sizes_of_their_layers(features: nn.Module) -> None:
    maps = features(torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(0)))
    assert [tuple(m.shape) for m in maps] == [
        (2, 64, 32, 24),
        (2, 128, 16, 12),
        (2, 256, 8, 6),
        (2, 384, 4, 3),
        (2, 384, 4, 3),
        (2, 512, 4, 3),
        (2, 512, 4, 3),
    ]
    assert all((m >= 0).all() for m in maps)  # after ReLU


def caffe_squeezenet(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """SqueezeNet v1.1 written out as its authors describe it: features after conv1, fire3, fire5 … fire9."""

    def convolved(image: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(image, state[f"{name}.weight"], state[f"{name}.bias"], **options).relu()

    out = 255 * x[:, [2, 1, 0]] - torch.tensor([104.006, 116.669, 122.679])[:, None, None]
    out = convolved(out, "conv1", stride=2, padding=1)
    found = [out]
    for number in range(2, 10):
        if number in (2, 4, 6):
            out = F.max_pool2d(out, 3, 2, ceil_mode=True)
        squeezed = convolved(out, f"fire{number}.squeeze1x1")
        wide = [convolved(squeezed, f"fire{number}.expand{n}x{n}", padding=n // 2) for n in (1, 3)]
        out = torch.cat(wide, 1)
        found += [out] if number in (3, 5, 6, 7, 8, 9) else []
    return found


def test_the_caffe_models_features_are_those_of_its_authors(features: nn.Module, shared: Path) -> None:
    """Channels in B, G, R, the mean in levels, a padded first convolution: folded into torchvision's layers."""
    from safetensors.torch import load_file

    state = load_file(shared / "weights" / "squeezenet1_1.safetensors")
    x = torch.rand(2, 3, 72, 57, generator=torch.Generator().manual_seed(0))
    for ours, expected in zip(features(x), caffe_squeezenet(state, x), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


def test_features_are_frozen_but_gradients_reach_the_image(features: nn.Module) -> None:
    assert not any(p.requires_grad for p in features.parameters())
    assert not features.training
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    flipped = features(x.detach().flip(-1))
    feature_energy(flipped, features(x), flipped).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert float(x.grad.abs().amax((0, 1)).count_nonzero()) > 900  # nearly every pixel
    assert all(p.grad is None for p in features.parameters())


def test_features_tell_blur_from_the_same_image(features: nn.Module, shared: Path) -> None:
    from vspsr import Degradation, read_image
    from vspsr.degradation.resize import imresize

    x = read_image(sorted((shared / "data" / "test" / "Set5").iterdir())[0]).to_float()[..., :128, :128]
    blurred = [imresize(Degradation(s).down(x), scale=s) for s in (2, 4, 8)]
    truth, others = features(x), [features(b) for b in (x, *blurred)]
    distances = [float(feature_energy(truth, f, f)) for f in others]
    assert distances == sorted(distances)
    assert distances[0] < 1e-3 < 0.1 < distances[1]


def test_a_file_that_is_not_there_or_lacks_layers_is_an_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(ModelError, match=r"nothing\.safetensors"):
        FeatureNetwork("squeezenet1_1", str(tmp_path / "nothing.safetensors"))
    save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "few.safetensors")
    with pytest.raises(ModelError, match=r"squeezenet1_1: features\.0\.bias is missing"):
        FeatureNetwork("squeezenet1_1", str(tmp_path / "few.safetensors"))
