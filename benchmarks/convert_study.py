"""The study of correlated coefficients at x4 as a model of this version: weights file → model folder.

    python benchmarks/convert_study.py x4_correlated_study.safetensors vspsr-x4-explore

The study's gains come from three convolutions of the features (`g0` and `gates` 3×3, `og` 1×1), here from one; it does
not see how its input is quantised, so the weights for that are zero. The function is the same.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from vspsr import VSpSR

OPTIONS = {
    "scale": 4,
    "n_atoms": 96,
    "channels": 56,
    "blocks": 32,
    "noise_channels": 56,
    "dilations": [1, 1, 1, 1],
    "n_modes": 4,
    "basis": "features",
}


def convert(study: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the study → those of `CorrelatedVSpM`."""
    kept = ("trunk.", "mean_head.", "basis_head.", "atoms", "modes")
    state = {k: v for k, v in study.items() if k.startswith(kept)}
    head = study["trunk.head.weight"]
    state["trunk.head.weight"] = torch.cat([head, torch.zeros_like(head)], 1)
    output_gain = torch.zeros(96, 56, 3, 3, dtype=head.dtype)
    output_gain[:, :, 1:2, 1:2] = study["og.weight"]
    state["gain_head.weight"] = torch.cat([study["g0.weight"], study["gates.weight"], output_gain])
    state["gain_head.bias"] = torch.cat([study[f"{name}.bias"] for name in ("g0", "gates", "og")])
    state |= {f"kernels.{i}": study[f"lin.{i}.weight"] for i in range(4)}
    state["output_kernel"] = study["outlin.weight"]
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    model = VSpSR("correlated", OPTIONS, temperature=0.8)
    model.network.load_state_dict(convert({k: v.float() for k, v in load_file(args.study).items()}))
    model.save_pretrained(args.folder, half=True)


if __name__ == "__main__":
    main()
