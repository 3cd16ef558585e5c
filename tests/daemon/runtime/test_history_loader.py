"""History loader: requests exactly the missing intervals."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daemon.runtime.history_loader import missing_ranges


@given(st.sets(st.integers(0, 30)), st.integers(0, 31))
def test_missing_and_stored_ranges_cover_the_span(stored: set[int], end: int) -> None:
    """Stored intervals and missing runs together cover the span once; runs are maximal."""
    opens = sorted(each * 10 for each in stored if each < end)
    runs = missing_ranges(opens, 0, end * 10, 10)
    missing = [time for first, after in runs for time in range(first, after, 10)]
    assert sorted(missing + opens) == list(range(0, end * 10, 10))
    assert all(after < first for (_, after), (first, _) in pairwise(runs))
