"""The baselines that every network must beat, one per file. Importing them needs no torch or optional package."""

from __future__ import annotations

from models.baselines.boosted_trees import BoostedTrees
from models.baselines.common import ANY_SERIES, MissingExtra, centred_quantiles
from models.baselines.ewma import Ewma
from models.baselines.garch import Garch
from models.baselines.har import Har, HarCoefficients, har_regressors
from models.baselines.random_walk import RANDOM_WALK_LEAST_RETURNS, RANDOM_WALK_RETURNS, RandomWalk
from models.baselines.reversal import Reversal

__all__ = [
    "ANY_SERIES",
    "RANDOM_WALK_LEAST_RETURNS",
    "RANDOM_WALK_RETURNS",
    "BoostedTrees",
    "Ewma",
    "Garch",
    "Har",
    "HarCoefficients",
    "MissingExtra",
    "RandomWalk",
    "Reversal",
    "centred_quantiles",
    "har_regressors",
]
