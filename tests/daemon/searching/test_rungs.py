"""Successive halving: which candidates continue, and on how many folds."""

from __future__ import annotations

from daemon.searching.rungs import Rung, rungs, survivors


def test_half_go_on_to_twice_the_folds() -> None:
    """Up to all folds, however many there are."""
    assert rungs("halving", trials=16, folds=4) == (Rung(16, 1), Rung(8, 2), Rung(4, 4))
    assert rungs("halving", trials=5, folds=3) == (Rung(5, 1), Rung(3, 2), Rung(2, 3))
    assert rungs("halving", trials=7, folds=1) == (Rung(7, 1),)


def test_random_judges_all_on_all() -> None:
    """One rung."""
    assert rungs("random", trials=9, folds=4) == (Rung(9, 4),)


def test_the_preset_goes_to_the_end() -> None:
    """The preset is evaluated on every fold at any rank, because the others are compared with it."""
    assert survivors([4, 2, 0, 1, 3], 2) == [4, 2, 0]
    assert survivors([4, 0, 2, 1, 3], 2) == [4, 0]
    assert survivors([4, 0, 2], 9) == [4, 0, 2]
