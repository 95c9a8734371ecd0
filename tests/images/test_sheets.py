"""The scale of colour maps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vspsr.images.sheets import scale_end


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([1e-6, 0.1]))
def test_colour_scales_end_at_a_round_number_just_above_the_values(values: list[float], least: float) -> None:
    top = max(float(np.quantile(values, 0.995)), least)
    end = scale_end(np.array(values), least)
    assert top * (1 - 1e-6) <= end <= 1.5 * top * (1 + 1e-6)
    assert len(f"{end:.6e}".split("e")[0].rstrip("0")) <= 3  # two digits at most
