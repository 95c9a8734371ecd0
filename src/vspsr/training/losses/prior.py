"""The sparsity prior: w | ρ ~ N(0, 1/ρ), ρ ~ Gamma(α, β), and the divergence of the inferred coefficients from it.

Zhou et al. 2021, eq. 5. With q(w) = N(μ, σ²) and q(ρ) free, the best q(ρ) is Gamma(α + ½, β + ½m), m = E[w²] =
μ² + σ², so that E[ρ] = (α + ½)/(β + ½m); and there the divergence of q(w) q(ρ) from the prior is, per coefficient,

    KL = (α + ½) log(β + ½m) − α log β + log Γ(α) − log Γ(α + ½) − ½ log σ² − ½,

since min over q(ρ) of E[log q(ρ) − log p(ρ) p(w|ρ)] is −log ∫ p(ρ) exp(E log p(w|ρ)) dρ. It is never negative.

The authors' code minimises E[ρ]·m − log σ² with E[ρ] held constant. Because q(ρ) is optimal, ∂KL/∂m = ½E[ρ]: that
form has exactly twice the gradient of KL above, though it is not the divergence and can be negative.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from vspsr.space.parameters import SpaceParameters
from vspsr.training.losses.base import Loss, Positive, StepImages

__all__ = [
    "KL",
    "basis_kl_authors",
    "coefficient_kl",
    "coefficient_kl_authors",
    "expected_precision",
    "prior_loss",
]


def expected_precision(second_moment: Tensor, alpha: float, beta: float) -> Tensor:
    """E[ρ] under the best q(ρ), for m = E[w²]; any shape."""
    return (alpha + 0.5) / (beta + 0.5 * second_moment)


def coefficient_kl(mean: Tensor | None, log_var: Tensor, alpha: float, beta: float) -> Tensor:
    """The divergence above for every coefficient, in nats: mean (None for 0) and log σ² of one shape → that shape."""
    return _joint(_second_moment(mean, log_var), log_var, alpha, beta)


def coefficient_kl_authors(mean: Tensor | None, log_var: Tensor, alpha: float, beta: float) -> Tensor:
    """The form of the authors' code: E[ρ]·m − log σ², E[ρ] held constant."""
    return _authors(_second_moment(mean, log_var), log_var, alpha, beta)


def basis_kl_authors(mean: Tensor, log_var: Tensor) -> Tensor:
    """Of a stochastic basis' codes against N(0, 1), as in the authors' code: μ² + σ² − log σ² (2·KL + 1)."""
    return mean.square() + log_var.exp() - log_var


def prior_loss(p: SpaceParameters, form: str, alpha: float, beta: float) -> Tensor:
    """The prior's term of the objective, a scalar.

    Args:
        p: what the network said.
        form: "joint" sums the divergences of all coefficients (and codes of a stochastic basis) and divides by the
            number of HR values, as the likelihood is: together they are the evidence bound per HR value. "authors"
            takes their form's mean over coefficients, plus that over codes.
        alpha, beta: of the Gamma prior.
    """
    total = p.deterministic.new_zeros(())
    if p.coefficient_log_var is not None:
        divergence = _Divergence.apply(p.coefficient_mean, p.coefficient_log_var, form, alpha, beta)
        count = p.deterministic if form == "joint" else p.coefficient_log_var
        total = total + divergence / count.numel()
    if p.basis is not None:
        kl = basis_kl_authors(p.basis.mean, p.basis.log_var)
        total = total + (0.5 * (kl - 1).sum() / p.deterministic.numel() if form == "joint" else kl.mean())
    return total


class KL(Loss):
    """Divergence of the coefficients from the Gamma hyper-prior, ρ ~ Gamma(α, β); ``form`` is as in `prior_loss`."""

    form: Literal["joint", "authors"] = "joint"
    alpha: Positive = 3.0
    beta: Positive = 1.0

    def value(self, images: StepImages) -> Tensor:
        """See `Loss`."""
        return prior_loss(images.parameters, self.form, self.alpha, self.beta)


def _second_moment(mean: Tensor | None, log_var: Tensor) -> Tensor:
    variance = torch.exp(log_var)
    return variance if mean is None else mean.square() + variance


def _joint(moment: Tensor, log_var: Tensor, alpha: float, beta: float) -> Tensor:
    constant = math.lgamma(alpha) - math.lgamma(alpha + 0.5) - alpha * math.log(beta) - 0.5
    return (alpha + 0.5) * (beta + 0.5 * moment).log() - 0.5 * log_var + constant


def _authors(moment: Tensor, log_var: Tensor, alpha: float, beta: float) -> Tensor:
    return expected_precision(moment, alpha, beta).detach() * moment - log_var


class _Divergence(torch.autograd.Function):
    """Sum of one form over all coefficients, its gradient worked out on the way, image by image: there are millions
    of coefficients, and so they pass through memory once.

    ∂/∂μ = 2c E[ρ] μ and ∂/∂log σ² = c (E[ρ] σ² − 1), with c = ½ for the divergence and 1 for the authors' form.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor | None, log_var: Tensor, form: str, alpha: float, beta: float) -> Tensor:
        """Means (B, …) or None, log-variances (B, …) → scalar."""
        value, factor = (_joint, 0.5) if form == "joint" else (_authors, 1.0)
        total = log_var.new_zeros((), dtype=torch.float64)
        by_mean = None if mean is None else torch.empty_like(mean)
        by_log_var = torch.empty_like(log_var)
        for b, v in enumerate(log_var):
            variance = v.exp()
            moment = variance if mean is None else torch.addcmul(variance, mean[b], mean[b])
            total += value(moment, v, alpha, beta).sum(dtype=torch.float64)
            precision = expected_precision(moment, alpha, beta)
            if mean is not None and by_mean is not None:
                torch.mul(precision, mean[b], out=by_mean[b]).mul_(2 * factor)
            torch.mul(precision, variance, out=by_log_var[b]).sub_(1).mul_(factor)
        ctx.gradients = by_mean, by_log_var
        return total.to(log_var.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        by_mean, by_log_var = ctx.gradients
        ctx.gradients = None  # used up: as with autograd's own buffers, there is one backward pass
        return None if by_mean is None else by_mean.mul_(grads[0]), by_log_var.mul_(grads[0]), None, None, None
