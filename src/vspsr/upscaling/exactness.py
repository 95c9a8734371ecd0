"""How well a picture downscales to the LR picture."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exactness:
    """How well a picture downscales to the LR picture.

    Attributes:
        lr_values_wrong: LR values (pixels × channels, alpha included) that are not reproduced.
        lr_max_deviation: the largest difference, in levels.
        moved_rms, moved_max: how far the colours of the picture are from the image it was made from, see `Quantized`.
        coefficients_wrong: of a JPEG, coefficients of the LR picture that are saved differently; None otherwise. Its LR
            values are not compared with anything: `lr_values_wrong` is 0.
        noise_ratio: of a noisy LR picture, root mean square of what its pixels differ from those of the downscaled
            picture by, over the standard deviation of the noise: about 1 for samples. None otherwise. Its colours are
            not counted in `lr_values_wrong`.
    """

    lr_values_wrong: int
    lr_max_deviation: int
    moved_rms: float
    moved_max: float
    coefficients_wrong: int | None = None
    noise_ratio: float | None = None

    @property
    def exact(self) -> bool:
        """Whether nothing is wrong."""
        return self.lr_values_wrong == 0 and not self.coefficients_wrong

    def record(self) -> dict[str, int | float]:
        """What applies, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}
