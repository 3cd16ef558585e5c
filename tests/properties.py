"""How many examples a property is tried with: few in `make test`, all of them in `make check`."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

QUICK, THOROUGH = "quick", "thorough"  # names of hypothesis's profiles


def register_profiles() -> None:
    """Makes the quick profile the one in force, unless ``--hypothesis-profile`` names another."""
    # No property is about speed, and a loaded machine is slow.
    settings.register_profile(QUICK, deadline=None, max_examples=30)
    settings.register_profile(THOROUGH, deadline=None)
    settings.load_profile(QUICK)


def examples(most: int, **options: Any) -> settings:
    """The settings of a property that is worth ``most`` examples, of which the quick profile tries a fifth."""
    quick = settings.get_current_profile_name() == QUICK
    return settings(max_examples=most // 5 if quick else most, **options)
