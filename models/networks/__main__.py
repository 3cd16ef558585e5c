"""``python -m models.networks`` prints the number of parameters of each kind and preset."""

from __future__ import annotations

from features.catalogue import FEATURE_NAMES
from models.networks.builder import build_member, network_config, parameter_count
from models.presets import PRESETS
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS


def parameter_counts() -> dict[tuple[str, str], int]:
    """By kind and preset, for all features, 48 hours, three symbols, and the default horizons and levels."""
    return {
        (kind, preset): parameter_count(
            build_member(
                network_config(
                    kind,
                    chosen.shape,
                    feature_names=FEATURE_NAMES,
                    window=48,
                    symbols=4,
                    horizons=len(DEFAULT_HORIZONS),
                    levels=DEFAULT_LEVELS,
                )
            )
        )
        for kind, presets in PRESETS.items()
        for preset, chosen in presets.items()
    }


def main() -> None:
    """Prints the parameter counts, one line each."""
    for (kind, preset), count in parameter_counts().items():
        print(f"{kind:<16}{preset:<12}{count:>12,}")  # noqa: T201  # this is a command


if __name__ == "__main__":
    main()
