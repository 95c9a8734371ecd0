"""The sparsity prior: w | ρ ~ N(0, 1/ρ), ρ ~ Gamma(α, β), and the divergence of the inferred coefficients from it.

Zhou et al. 2021, eq. 5. With q(w) = N(μ, σ²) and q(ρ) free, the best q(ρ) is Gamma(α + ½, β + ½m), m = E[w²] =
μ² + σ², so that E[ρ] = (α + ½)/(β + ½m); and there the divergence of q(w) q(ρ) from the prior is, per coefficient,

    KL = (α + ½) log(β + ½m) − α log β + log Γ(α) − log Γ(α + ½) − ½ log σ² − ½,

since min over q(ρ) of E[log q(ρ) − log p(ρ) p(w|ρ)] is −log ∫ p(ρ) exp(E log p(w|ρ)) dρ. It is never negative.

The authors' code minimises E[ρ]·m − log σ² with E[ρ] held constant. Because q(ρ) is optimal, ∂KL/∂m = ½E[ρ]: that
form has exactly twice the gradient of KL above, though it is not the divergence and can be negative.
"""

import math
from typing import Literal

from torch import Tensor

from vspsr.training.losses.base import Loss, Positive, StepImages


def expected_precision(second_moment: Tensor, alpha: float, beta: float) -> Tensor:
    """E[ρ] under the best q(ρ), for m = E[w²]; any shape."""
    return (alpha + 0.5) / (beta + 0.5 * second_moment)


def coefficient_kl(mean: Tensor | None, log_var: Tensor, alpha: float, beta: float) -> Tensor:
    """The divergence above for every coefficient, in nats: mean (None for 0) and log σ² of one shape → that shape."""
    constant = math.lgamma(alpha) - math.lgamma(alpha + 0.5) - alpha * math.log(beta) - 0.5
    return (alpha + 0.5) * (beta + 0.5 * _second_moment(mean, log_var)).log() - 0.5 * log_var + constant


def coefficient_kl_authors(mean: Tensor | None, log_var: Tensor, alpha: float, beta: float) -> Tensor:
    """The form of the authors' code: E[ρ]·m − log σ², E[ρ] held constant."""
    moment = _second_moment(mean, log_var)
    return expected_precision(moment, alpha, beta).detach() * moment - log_var


def _second_moment(mean: Tensor | None, log_var: Tensor) -> Tensor:
    return log_var.exp() if mean is None else mean.square() + log_var.exp()


def basis_kl_authors(mean: Tensor, log_var: Tensor) -> Tensor:
    """Of a stochastic basis' codes against N(0, 1), as in the authors' code: μ² + σ² − log σ² (2·KL + 1)."""
    return mean.square() + log_var.exp() - log_var


class KL(Loss):
    """Divergence of the coefficients from the Gamma hyper-prior, ρ ~ Gamma(α, β).

    ``form``: "joint" sums the divergences of all coefficients (and codes of a stochastic basis) and divides by the
    number of HR values, as the likelihood is: together they are the evidence bound per HR value. "authors" takes their
    form's mean over coefficients, plus that over codes.
    """

    form: Literal["joint", "authors"] = "joint"
    alpha: Positive = 3.0
    beta: Positive = 1.0

    def value(self, images: StepImages) -> Tensor:
        p, joint = images.parameters, self.form == "joint"
        n_values, total = p.deterministic.numel(), p.deterministic.new_zeros(())
        if p.coefficient_log_var is not None:
            divergence = coefficient_kl if joint else coefficient_kl_authors
            kl = divergence(p.coefficient_mean, p.coefficient_log_var, self.alpha, self.beta)
            total = total + (kl.sum() / n_values if joint else kl.mean())
        if p.basis is not None:
            kl = basis_kl_authors(p.basis.mean, p.basis.log_var)
            total = total + (0.5 * (kl - 1).sum() / n_values if joint else kl.mean())
        return total
