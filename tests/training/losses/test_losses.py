"""Losses against closed forms, torch.distributions, golden vectors, Monte Carlo; feature networks, discriminators."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.distributions import Gamma, Normal, kl_divergence

pytest.importorskip("torchvision", reason="the extra `train` is not installed")

from vspsr import Degradation, VSpSR
from vspsr.errors import ModelError
from vspsr.nn.vspm import VSpM
from vspsr.space.parameters import SpaceParameters
from vspsr.training.features import FeatureNetwork
from vspsr.training.graphs import Graphs
from vspsr.training.losses import Losses, StepImages
from vspsr.training.losses.adversarial import PatchDiscriminator, discriminator_loss
from vspsr.training.losses.deep import feature_energy
from vspsr.training.losses.energy import energy_score, patch_distance
from vspsr.training.losses.prior import (
    basis_kl_authors,
    coefficient_kl,
    coefficient_kl_authors,
    expected_precision,
)
from vspsr.training.sampling import draw, normals


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def step_images(x: Tensor, mean: Tensor, *samples: Tensor, **more: Any) -> StepImages:
    parameters = SpaceParameters(mean, torch.zeros(len(x), 1, 1, 3, 8, 8), None, None)
    return StepImages(x, parameters, mean, samples, 4, 0, 0, {}, nullcontext, Graphs(), **more)


def value(name: str, images: StepImages, **options: Any) -> Tensor:
    ((loss,),) = TypeAdapter(Losses).validate_python({name: {"weight": 1.0, **options}}).values()
    return loss.value(images)  # type: ignore[no-any-return, attr-defined]


def test_likelihood_is_that_of_a_normal_distribution() -> None:
    x, mean, sample = torch.rand(3, 2, 3, 8, 8)
    images = step_images(x, mean, sample)
    expected = -Normal(sample, 0.07).log_prob(x).mean()
    torch.testing.assert_close(value("likelihood", images, stddev=0.07), expected)
    torch.testing.assert_close(value("mse", images), F.mse_loss(x, sample))
    torch.testing.assert_close(value("mean_mse", images), F.mse_loss(x, mean))
    torch.testing.assert_close(value("mean_l1", images), F.l1_loss(x, mean))
    half = value("likelihood", images, stddev=math.sqrt(0.5))
    torch.testing.assert_close(half - 0.5 * math.log(math.pi), F.mse_loss(x, sample))


def test_a_loss_of_a_batch_is_the_mean_over_its_crops() -> None:
    """So that pieces of a batch add up to it."""
    x, mean, first, second = torch.rand(4, 3, 3, 32, 32)
    features = {
        "networks": {"squeezenet": FeatureNetwork("squeezenet1_1", "random")},
    }
    opinion = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1))
    for name in Losses.__annotations__.keys() - {"kl", "perceptual"}:

        def of(part: slice, name: str = name) -> Tensor:
            images = step_images(x[part], mean[part], first[part], second[part], discriminator=opinion)
            return value(name, replace(images, **features), **({"block": 8} if name == "log_power_crps" else {}))

        pieces = (2 * of(slice(0, 2)) + of(slice(2, 3))) / 3
        torch.testing.assert_close(of(slice(None)), pieces, rtol=1e-4, atol=1e-6, msg=name)


class TestPrior:
    mean = torch.linspace(-2, 2, 9, dtype=torch.float64)
    log_var = torch.linspace(-3, 1.5, 9, dtype=torch.float64)

    @staticmethod
    def divergence(mean: torch.Tensor, log_var: torch.Tensor, q: Gamma, prior: Gamma) -> torch.Tensor:
        """KL(q(w) q(ρ) ‖ p(w|ρ) p(ρ)) for any Gamma q(ρ), by torch.distributions and the digamma function."""
        log_rho = torch.digamma(q.concentration) - q.rate.log()
        within = 0.5 * (q.mean * (mean**2 + log_var.exp()) - 1 - log_var - log_rho)
        return within + kl_divergence(q, prior)

    @pytest.mark.parametrize(("alpha", "beta"), [(3.0, 1.0), (3.0, 0.1), (0.5, 2.0)])
    def test_divergence(self, alpha: float, beta: float) -> None:
        """Against torch.distributions at the best q(ρ), which no other q(ρ) undercuts; never negative."""
        prior = Gamma(torch.tensor(alpha).double(), torch.tensor(beta).double())
        moment = self.mean**2 + self.log_var.exp()
        best = Gamma(torch.full_like(moment, alpha + 0.5), beta + 0.5 * moment)
        kl = coefficient_kl(self.mean, self.log_var, alpha, beta)
        torch.testing.assert_close(kl, self.divergence(self.mean, self.log_var, best, prior))
        torch.testing.assert_close(expected_precision(moment, alpha, beta), best.mean)
        assert (kl >= 0).all()
        for a, b in ((1.1, 1.0), (1.0, 0.9), (0.9, 1.2)):
            other = Gamma(a * best.concentration, b * best.rate)
            assert (self.divergence(self.mean, self.log_var, other, prior) > kl).all()

    def test_by_monte_carlo(self) -> None:
        """An upper bound of E[log q(w) − log p(w)] with p(w) = ∫ p(w|ρ) p(ρ) dρ, which is Student's t."""
        alpha, beta = 3.0, 1.0
        q = Normal(self.mean, (0.5 * self.log_var).exp())
        w = q.sample(torch.Size([100_000]))
        student = torch.distributions.StudentT(2 * alpha, 0.0, math.sqrt(beta / alpha))
        exact = (q.log_prob(w) - student.log_prob(w)).mean(0)
        assert (coefficient_kl(self.mean, self.log_var, alpha, beta) > exact - 0.01).all()

    def test_the_authors_form_has_twice_the_gradient(self) -> None:
        gradients = []
        for form in (coefficient_kl, coefficient_kl_authors):
            m, v = self.mean.clone().requires_grad_(), self.log_var.clone().requires_grad_()
            form(m, v, 3.0, 0.5).sum().backward()
            gradients.append((m.grad, v.grad))
        for ours, theirs in zip(*gradients, strict=True):
            assert ours is not None
            torch.testing.assert_close(2 * ours, theirs)

    def test_no_mean_is_mean_zero(self) -> None:
        zero = torch.zeros_like(self.log_var)
        torch.testing.assert_close(coefficient_kl(None, self.log_var, 3, 1), coefficient_kl(zero, self.log_var, 3, 1))

    def test_basis_codes(self) -> None:
        kl = kl_divergence(Normal(self.mean, (0.5 * self.log_var).exp()), Normal(0.0, 1.0))
        torch.testing.assert_close(0.5 * (basis_kl_authors(self.mean, self.log_var) - 1), kl.double())

    @pytest.mark.parametrize("name", ["vspm_x4", "vspm_x8", "vspm_x4_noup"])
    def test_golden_values_of_the_authors_code(self, golden: Callable[[str], Any], name: str) -> None:
        case = golden(name)
        mean, log_var = (torch.from_numpy(case[k]) for k in ("mu_w", "log_var_w"))
        for alpha, beta in ((3.0, 1.0), (3.0, 0.5), (3.0, 0.1)):
            kl = coefficient_kl_authors(mean, log_var, alpha, beta)
            if torch.allclose(kl, torch.from_numpy(case["kl_w"]).view_as(kl), rtol=1e-5):
                break
        else:
            pytest.fail("no β of the authors' gives their kl_w")
        error = F.mse_loss(torch.from_numpy(case["output"]), torch.from_numpy(case["target"]))
        assert float(error + 0.1 * kl.mean()) == pytest.approx(float(case["loss_total"]), rel=1e-5)

    def test_joint_form_is_per_hr_value(self) -> None:
        """So that likelihood + prior is the evidence bound, whatever the number of atoms and the scale."""
        p, x = VSpM(4, 8, stochastic_basis=True)(torch.rand(2, 3, 16, 16)), torch.rand(2, 3, 64, 64)
        assert p.coefficient_mean is not None
        assert p.coefficient_log_var is not None
        assert p.basis is not None
        kl = coefficient_kl(p.coefficient_mean, p.coefficient_log_var, 3, 1).sum()
        code = kl_divergence(Normal(p.basis.mean, (0.5 * p.basis.log_var).exp()), Normal(0.0, 1.0)).sum()
        torch.testing.assert_close(
            value("kl", replace(step_images(x, x), parameters=p)), (kl + code) / (2 * 3 * 64 * 64)
        )


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Mean over layers and places of the distance of unit-length features, written out."""
    pairs = [(F.normalize(f, dim=1), F.normalize(g, dim=1)) for f, g in zip(a, b, strict=True)]
    return torch.stack([((f - g).square().sum(1) + 1e-6).sqrt().mean() for f, g in pairs]).mean()


class TestEnergy:
    def test_one_value_is_the_crps(self) -> None:
        """In one dimension the energy score is the CRPS, of which the normal distribution's closed form is known."""
        x = torch.full((200_000, 1, 1, 1), 0.7)
        first, second = torch.randn(2, 200_000, 1, 1, 1)
        score = energy_score(x, first, second, lambda a, b: patch_distance(a, b, 1))
        z = torch.tensor(0.7)
        normal = Normal(0.0, 1.0)
        crps = z * (2 * normal.cdf(z) - 1) + 2 * normal.log_prob(z).exp() - 1 / math.sqrt(math.pi)
        assert float(score) == pytest.approx(float(crps), abs=0.01)

    def test_the_true_distribution_scores_best(self) -> None:
        x, a, b = torch.randn(3, 4000, 1, 8, 8)
        true = energy_score(x, a, b, patch_distance)
        assert true < energy_score(x, 0.8 * a, 0.8 * b, patch_distance)
        assert true < energy_score(x, 1.2 * a, 1.2 * b, patch_distance)
        assert true < energy_score(x, a + 0.2, b + 0.2, patch_distance)
        assert true < energy_score(x, a, a, patch_distance)

    def test_patches(self) -> None:
        a, b = torch.rand(2, 2, 3, 19, 18)
        expected = [
            (a - b)[i, :, 3 + 8 * r : 11 + 8 * r, 2 + 8 * c : 10 + 8 * c].square().mean().sqrt()
            for i in range(2)
            for r in range(2)
            for c in range(2)
        ]
        torch.testing.assert_close(patch_distance(a, b, 8, (3, 2)), torch.stack(expected).mean())

    def test_gradient_is_finite_where_images_are_equal(self) -> None:
        a = torch.rand(1, 3, 8, 8, requires_grad=True)
        (patch_distance(a, a.detach()) + feature_energy([a.detach()], [a], [a.detach()])).backward()
        assert a.grad is not None
        assert a.grad.isfinite().all()

    def test_feature_energy_is_that_of_distances(self) -> None:
        """In one pass the same, and the same gradients, as written out with `energy_score`."""
        layers = [torch.randn(3, 2, c, n, n, dtype=torch.float64).requires_grad_() for c, n in ((4, 5), (6, 3))]
        x, first, second = zip(*layers, strict=True)
        fused, plain = feature_energy(x, first, second), energy_score(x, first, second, feature_distance)
        torch.testing.assert_close(fused, plain)
        for ours, theirs in zip(torch.autograd.grad(fused, layers), torch.autograd.grad(plain, layers), strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_feature_energy_by_finite_differences(self) -> None:
        features = [torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
        assert torch.autograd.gradcheck(lambda x, a, b: feature_energy([x], [a], [b]), features)

    def test_feature_energy_in_bf16_has_gradients_in_bf16(self) -> None:
        x, a, b = torch.randn(3, 2, 8, 4, 4).bfloat16()
        a.requires_grad_()
        score = feature_energy([x], [a], [b])
        score.backward()
        assert score.dtype == torch.float32
        assert a.grad is not None
        assert a.grad.dtype == torch.bfloat16
        exact = feature_energy([x.float()], [a.detach().float()], [b.float()])
        assert float(score.detach()) == pytest.approx(float(exact), rel=1e-6)

    def test_layer_weights(self) -> None:
        x, f, g = torch.rand(3, 2, 1, 4, 5, 5)
        one, two = (feature_energy([x[i]], [f[i]], [g[i]]) for i in range(2))
        torch.testing.assert_close(feature_energy(list(x), list(f), list(g)), (one + two) / 2)
        torch.testing.assert_close(feature_energy(list(x), list(f), list(g), [3, 1]), (3 * one + two) / 4)


class TestAdversarial:
    def test_least_squares(self) -> None:
        real, fake = torch.rand(2, 5)
        ones, zeros = torch.ones_like(real), torch.zeros_like(real)
        both = 0.5 * F.mse_loss(real, ones) + 0.5 * F.mse_loss(fake, zeros)
        torch.testing.assert_close(discriminator_loss(real, fake), both)
        x = torch.rand(5, 3, 8, 8)
        images = step_images(x, x, x, discriminator=lambda image: fake)
        torch.testing.assert_close(value("adversarial", images), F.mse_loss(fake, ones))

    def test_the_authors_discriminator(self) -> None:
        network = PatchDiscriminator()
        out = network(torch.rand(3, 3, 32, 40))
        assert out.shape == (3,)
        assert ((out > 0) & (out < 1)).all()
        x = torch.rand(2, 3, 10, 10, requires_grad=True)
        assert network.eval()(x).shape == (2,)
        counts = [64 * 3 * 16, 128 * 64 * 16, 256 * 128, 512 * 256, 512]
        assert sum(p.numel() for p in network.parameters() if p.ndim == 4) == sum(counts)


class TestFeatures:
    def test_vgg19_layers_and_normalisation(self) -> None:
        from torchvision.models import VGG19_Weights, vgg19

        network = FeatureNetwork("vgg19", "random", ("features.34", "features.35", "features.1"))
        transforms = VGG19_Weights.DEFAULT.transforms()
        assert network.mean.flatten().tolist() == pytest.approx(transforms.mean)
        assert network.std.flatten().tolist() == pytest.approx(transforms.std)
        x = torch.rand(1, 3, 32, 32)
        conv, relu, _ = network(x)
        whole = vgg19().eval()
        whole.load_state_dict(network.features.state_dict(), strict=False)
        torch.testing.assert_close(conv, whole.features[:35]((x - network.mean) / network.std))
        torch.testing.assert_close(relu, conv.relu())

    @pytest.mark.parametrize("network", ["vgg16", "alexnet", "squeezenet1_1"])
    def test_other_networks(self, network: str) -> None:
        features = FeatureNetwork(network, "random")(torch.rand(2, 3, 64, 64))
        assert len(features) >= 5
        assert all(f.isfinite().all() for f in features)

    def test_no_weight_changes_in_a_training_step(self) -> None:
        network = FeatureNetwork("squeezenet1_1", "random")
        before = {k: v.clone() for k, v in network.state_dict().items()}
        image = nn.Parameter(torch.rand(1, 3, 32, 32))
        start = image.detach().clone()
        optimiser = torch.optim.Adam([image, *network.parameters()], lr=0.1, weight_decay=0.1)
        network.train()
        assert not any(m.training for m in network.modules())
        feature_distance(network(torch.rand(1, 3, 32, 32)), network(image)).backward()
        optimiser.step()
        assert not torch.equal(start, image.detach())
        assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())

    def test_squeezenet_from_a_file(self, shared: Path) -> None:
        path = shared / "weights" / "squeezenet1_1.safetensors"
        network = FeatureNetwork("squeezenet1_1", str(path))
        features = network(torch.rand(1, 3, 64, 64))
        assert [f.shape[1] for f in features] == [64, 128, 256, 384, 384, 512, 512]
        assert [f.shape[2] for f in features] == [32, 16, 8, 4, 4, 4, 4]
        last = FeatureNetwork("squeezenet1_1", str(path), ["features.12", "features.1"])(torch.rand(1, 3, 64, 64))
        assert [f.shape[1] for f in last] == [512, 64]

    def test_torchvision_weights_from_a_file(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file
        from torchvision.models import squeezenet1_1

        whole = squeezenet1_1(weights=None)
        save_file({k: v for k, v in whole.state_dict().items() if k.startswith("features")}, tmp_path / "a.safetensors")
        network = FeatureNetwork("squeezenet1_1", str(tmp_path / "a.safetensors"), ["features.12"])
        x = torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(network(x)[0], whole.eval().features((x - network.mean) / network.std))

    def test_layers_of_a_network_of_timm_from_a_file(self, tmp_path: Path) -> None:
        import timm
        from safetensors.torch import save_file

        whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        save_file(whole.state_dict(), tmp_path / "a.safetensors")
        seen: dict[str, Tensor] = {}
        layers = ("blocks.5.0.bn1", "blocks.2.1.bn1")
        for layer in layers:
            whole.get_submodule(layer).register_forward_hook(lambda _, __, out, n=layer: seen.update({n: out}))
        x = torch.rand(2, 3, 50, 64)
        whole.eval()(2 * x - 1)
        found = FeatureNetwork("timm/tf_efficientnet_lite0", str(tmp_path / "a.safetensors"), layers)(x)
        for layer, features in zip(layers, found, strict=True):
            torch.testing.assert_close(features, seen[layer])
            assert 0 <= float(features.min()) < float(features.max()) <= 6  # after the activation
        by_default = FeatureNetwork("timm/tf_efficientnet_lite0", "random")
        assert not any(p.requires_grad for p in by_default.parameters())
        assert not any(m.training for m in by_default.train().modules())
        assert [f.shape[1:3] for f in by_default(x)] == [(240, 7), (480, 4), (480, 4), (672, 4)]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("timm/nix", "random"), "`network` 'nix': no network of timm's"),
            (("timm/resnet18", "random"), "`layers`: name the layers of timm/resnet18"),
            (("timm/resnet18", "random", ("layer1.0.act9",)), "no 'layer1.0.act9': did you mean `layer1.0.act"),
        ],
    )
    def test_mistakes_with_timm(self, arguments: tuple[Any, ...], message: str) -> None:
        with pytest.raises(ModelError, match=message):
            FeatureNetwork(*arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("vgg20", "random"), "`network` 'vgg20'"),
            (("vgg19", "random", ("features.99",)), "vgg19 has no 'features.99'"),
            (("vgg19", "none.safetensors"), "none.safetensors: no such file"),
        ],
    )
    def test_mistakes(self, arguments: tuple[Any, ...], message: str) -> None:
        with pytest.raises(ModelError, match=message):
            FeatureNetwork(*arguments)


class TestSampling:
    def test_noise_belongs_to_the_crop_not_the_batch(self) -> None:
        def of(*stream: int, count: int = 4) -> Tensor:
            return normals((count, 3, 5, 5), torch.device("cpu"), *stream)

        whole = of(7, 2, 0, 0)
        assert torch.equal(of(7, 2, 2, 0, count=2), whole[2:])
        for other in ((8, 2, 0, 0), (7, 3, 0, 0), (7, 2, 0, 1), (7, 2, 1, 0)):
            assert not torch.equal(of(*other)[0], whole[0])

    @pytest.mark.parametrize("network", ["overlapping", "correlated"])
    def test_samples_are_those_of_the_space(self, network: str) -> None:
        """Projected, their moments are those of SRSpace."""
        options = {"n_atoms": 6, "channels": 8, "blocks": 1} | (
            {"noise_channels": 3} if network == "correlated" else {}
        )
        model = VSpSR(network, {"scale": 4, **options})
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        y, exact = torch.rand(1, 3, 5, 6), torch.tensor([True])
        with torch.no_grad():
            space = model(y)
            drawn = [draw(space.parameters, y, model.degradation, 2, (0, i, 0), exact) for i in range(1500)]
            torch.testing.assert_close(drawn[0][0], space.mean)
            ratio = torch.cat([s for _, samples in drawn for s in samples]).std(0) / space.stddev[0]
        error = 0.07 if network == "overlapping" else 5 / math.sqrt(200)
        assert 1 - error < float(ratio.min()) < float(ratio.max()) < 1 / (1 - error)

    @pytest.mark.parametrize("options", [{}, {"stochastic_basis": True}, {"stochastic_coefficients": False}])
    def test_every_kind_of_vspm(self, options: dict[str, Any]) -> None:
        y = torch.rand(2, 3, 16, 16)
        p = VSpM(4, 8, **options)(y)
        mean, (a, b) = draw(p, y, Degradation(4), 2, (0, 0, 0))
        assert mean.shape == a.shape == (2, 3, 64, 64)
        assert torch.equal(a, b) == (options.get("stochastic_coefficients") is False)
        assert torch.equal(a, mean) == (options.get("stochastic_coefficients") is False)
