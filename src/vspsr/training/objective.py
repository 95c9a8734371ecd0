"""The objective of a phase: every loss of the recipe, evaluated on one batch."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.data.crops import random_stream
from vspsr.degradation.operator import Degradation
from vspsr.files import one_line
from vspsr.space.parameters import SpaceParameters
from vspsr.training.features import feature_network
from vspsr.training.losses.adversarial import generator_loss
from vspsr.training.losses.energy import (
    colour_bands,
    dct_crps,
    energy_score,
    feature_energy,
    log_power_crps,
    patch_distance,
)
from vspsr.training.losses.likelihood import gaussian_nll, l1, mse
from vspsr.training.losses.options import FeatureEnergy, Losses, PatchEnergy
from vspsr.training.losses.perceptual import perceptual_loss
from vspsr.training.losses.prior import prior_loss
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.sampling import centre, draw, projected

__all__ = ["Objective", "samples_needed"]

_OFFSET, _WINDOW = 3, 4  # streams of random numbers, apart from those of the data and the noise

Autocast = Callable[[], AbstractContextManager[None]]


def samples_needed(losses: Losses) -> int:
    """Samples per crop that a phase's losses look at."""
    if losses.energy_pixels or losses.dct_crps or losses.log_power_crps or losses.energy_features:
        return 2
    one = (losses.mse, losses.likelihood, losses.adversarial, losses.perceptual)
    return 1 if any(one) else 0


class Objective(nn.Module):
    """All losses of a recipe, with the frozen feature networks that they need.

    Args:
        recipe: the recipe.
        degradation: D.
    """

    def __init__(self, recipe: Recipe, degradation: Degradation) -> None:
        super().__init__()
        self.recipe, self.degradation = recipe, degradation
        used = {name for phase in recipe.phases for name in phase.losses.features()}
        entries = {name: entry for name, entry in recipe.features.items() if name in used}
        self.networks = nn.ModuleDict(
            {name: feature_network(e.network, e.weights, e.layers) for name, e in entries.items()}
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, entry in entries.items():
            if entry.layer_weights is not None:
                layers = len(self.networks[name](torch.zeros(1, 3, 64, 64)))
                if len(entry.layer_weights) != layers:
                    raise RecipeError(
                        f"`features.{name}.layer_weights`: {len(entry.layer_weights)} of them for {layers} layers"
                    )
        for phase in recipe.phases:
            self._check_crop(phase.crop or recipe.crop, phase.losses)

    def _check_crop(self, crop: int, losses: Losses) -> None:
        """Every feature network has something to see of a crop at every scale, or `RecipeError`."""
        for term in losses.energy_features:
            side = self.degradation.scale * (crop - 1) + 1  # what `feature_energy` keeps
            for scale in term.scales:
                try:
                    self.networks[term.features](self._resized(torch.zeros(1, 3, side, side), scale, 0))
                except RuntimeError as error:
                    raise RecipeError(
                        f"`crop` {crop}: too small for {term.features} in `energy_features` at scale {scale} "
                        f"({one_line(error)[:90]}): take a larger crop or leave the scale out"
                    ) from error

    def images(
        self, p: SpaceParameters, y: Tensor, losses: Losses, step: int, first: int
    ) -> tuple[Tensor | None, list[Tensor]]:
        """The image at temperature 0 (where a loss needs it) and the samples, projected where the recipe says so."""
        scale = self.degradation.scale
        drawn = [draw(p, scale, 1.0, (self.recipe.seed, step, first, i)) for i in range(samples_needed(losses))]
        held = any(factor < 1 for factor in losses.mean_gradient_scales())
        with_centre = held or losses.mean_l1 is not None or losses.mean_mse is not None
        images = [centre(p, scale), *drawn] if with_centre else drawn
        if self.recipe.projection and images:
            images = projected(images, y, self.degradation)
        return (images[0], images[1:]) if with_centre else (None, images)

    def forward(
        self,
        x: Tensor,
        p: SpaceParameters,
        mean: Tensor | None,
        samples: Sequence[Tensor],
        losses: Losses,
        step: int,
        autocast: Autocast,
        discriminator: nn.Module | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of a phase's losses and each by itself, unweighted.

        Args:
            x: HR images (B, 3, H, W) in [0, 1].
            p: parameters of their spaces.
            mean, samples: as `images` gives them.
            losses: of the phase.
            step: number of the step.
            autocast: context in which networks are evaluated.
            discriminator: for the adversarial loss.
        """
        terms: dict[str, tuple[float, Tensor]] = {}
        if losses.mean_l1 and mean is not None:
            terms["mean_l1"] = losses.mean_l1.weight, l1(x, mean)
        if losses.mean_mse and mean is not None:
            terms["mean_mse"] = losses.mean_mse.weight, mse(x, mean)
        if losses.mse:
            terms["mse"] = losses.mse.weight, _over(samples, partial(mse, x))
        if losses.likelihood:
            nll = partial(gaussian_nll, x, stddev=losses.likelihood.stddev)
            terms["likelihood"] = losses.likelihood.weight, _over(samples, nll)
        if losses.kl:
            terms["kl"] = losses.kl.weight, prior_loss(p, losses.kl.form, losses.kl.alpha, losses.kl.beta)
        if losses.energy_pixels:
            score = self.pixel_energy(x, samples[0], samples[1], losses.energy_pixels, step)
            terms["energy_pixels"] = losses.energy_pixels.weight, score
        if losses.dct_crps:
            size = losses.dct_crps.block
            score = dct_crps(x, samples[0], samples[1], size, self._offset(size, step))
            terms["dct_crps"] = losses.dct_crps.weight, score
        if losses.log_power_crps:
            strength = losses.log_power_crps
            seen = _held(samples, mean, strength.mean_gradient_scale)
            grid = self._offset(strength.block, step)
            score = log_power_crps(x, seen[0], seen[1], strength.block, strength.octaves, strength.floor, grid)
            terms["log_power_crps"] = strength.weight, score
        for index, term in enumerate(losses.energy_features):
            name = "energy_features" if len(losses.energy_features) == 1 else f"energy_features_{index}"
            seen = _held(samples, mean, term.mean_gradient_scale)
            terms[name] = term.weight, self.feature_energy(x, seen[0], seen[1], term, step, autocast)
        if losses.perceptual:
            network = self.networks[losses.perceptual.features]
            weights = self.recipe.features[losses.perceptual.features].layer_weights
            with autocast():
                fx, fs = network(x), network(samples[0])
            terms["perceptual"] = losses.perceptual.weight, perceptual_loss(_floats(fx), _floats(fs), weights)
        if losses.adversarial and discriminator is not None:
            with autocast():
                fake = discriminator(samples[0])
            terms["adversarial"] = losses.adversarial.weight, generator_loss(fake.float())
        total = torch.stack([weight * value for weight, value in terms.values()]).sum()
        return total, {name: value.detach() for name, (_, value) in terms.items()}

    def pixel_energy(self, x: Tensor, first: Tensor, second: Tensor, term: PatchEnergy, step: int) -> Tensor:
        """The energy score in patches, whose grid lies elsewhere at each step; the sum over bands where they are."""
        distance = partial(patch_distance, size=term.patch, offset=self._offset(term.patch, step))
        if term.bands is None:
            return energy_score(x, first, second, distance)
        parts = zip(*(colour_bands(image, term.bands) for image in (x, first, second)), strict=True)
        return torch.stack([energy_score(truth, a, b, distance) for truth, a, b in parts]).sum()

    def _offset(self, size: int, step: int) -> tuple[int, int]:
        """Where a grid of cells of ``size`` pixels begins in this step."""
        rng = random_stream(self.recipe.seed, _OFFSET, step)
        return int(rng.integers(size)), int(rng.integers(size))

    def feature_energy(
        self, x: Tensor, first: Tensor, second: Tensor, term: FeatureEnergy, step: int, autocast: Autocast
    ) -> Tensor:
        """The energy score in unit-length features, averaged over scales.

        Strided layers look at a grid of places. Held against that of the LR pixels it would ask for noise where it
        looks, which shows as a lattice: so it, too, lies elsewhere at each step.
        """
        period = self.degradation.scale
        top, left = self._offset(period, step)
        rows, columns = (n - period + 1 for n in x.shape[-2:])
        images = torch.cat([x, first, second])[..., top : top + rows, left : left + columns]
        network, weights = self.networks[term.features], self.recipe.features[term.features].layer_weights
        scores = []
        for scale in term.scales:
            truth, samples = self._resized(images, scale, step).split([len(x), 2 * len(x)])
            with autocast():
                with torch.no_grad():
                    fx = network(truth)
                fs = network(samples)
            first_fs, second_fs = zip(*(f.chunk(2) for f in fs), strict=True)
            scores.append(feature_energy(fx, first_fs, second_fs, weights))
        return torch.stack(scores).mean()

    def _resized(self, images: Tensor, scale: float, step: int) -> Tensor:
        """Images made smaller by ``scale``, or where that is below 1 a part of them made larger to as many pixels."""
        if scale >= 1:
            return F.avg_pool2d(images, int(scale)) if scale > 1 else images
        height, width = (math.ceil(scale * n) for n in images.shape[-2:])
        rng = random_stream(self.recipe.seed, _WINDOW, step)
        top, left = (
            int(rng.integers(n - side + 1)) for n, side in zip(images.shape[-2:], (height, width), strict=True)
        )
        part = images[..., top : top + height, left : left + width]
        return F.interpolate(part, scale_factor=1 / scale, mode="bicubic", align_corners=False)


def _over(samples: Sequence[Tensor], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean of a loss over the samples."""
    return torch.stack([loss(s) for s in samples]).mean()


def _held(samples: Sequence[Tensor], mean: Tensor | None, mean_gradient_scale: float) -> Sequence[Tensor]:
    """The samples, with ``mean_gradient_scale`` times the gradient that reaches their mean: they are affine in it."""
    if mean is None or mean_gradient_scale == 1:
        return samples
    held = (1 - mean_gradient_scale) * (mean - mean.detach())
    return [s - held for s in samples]


def _floats(features: Sequence[Tensor]) -> list[Tensor]:
    return [f.float() for f in features]
