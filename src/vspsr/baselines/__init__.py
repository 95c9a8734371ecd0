"""Baselines of the field behind one interface, each also with vspsr's exact projection around it."""

from vspsr.baselines.baseline import BASELINES, Baseline, BaselineInfo, load_baseline
from vspsr.baselines.weights import PublishedWeights, fetch_weights, published_weights, weights_folder

__all__ = [
    "BASELINES",
    "Baseline",
    "BaselineInfo",
    "PublishedWeights",
    "fetch_weights",
    "load_baseline",
    "published_weights",
    "weights_folder",
]
