"""Topic filters against an independent definition by regular expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.publishing.broker.topic_filters import is_valid, matches, reaches

LEVELS = st.sampled_from(["", "a", "b", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


def by_expression(topic_filter: str, topic: str) -> bool:
    """Section 4.7 of the standard as a regular expression."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    pattern = "/".join("[^/]*" if level == "+" else re.escape(level) for level in topic_filter.split("/"))
    pattern = re.sub(r"(^|/)\\#$", r"\1(.*)", pattern)
    if topic_filter.endswith("/#") and re.fullmatch(pattern.removesuffix("/(.*)"), topic):
        return True
    return re.fullmatch(pattern, topic) is not None


@given(FILTERS, TOPICS)
def test_a_filter_matches_as_the_standard_says(topic_filter: str, topic: str) -> None:
    assert is_valid(topic_filter)
    assert matches(topic_filter, topic) == by_expression(topic_filter, topic)


@given(FILTERS, st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3), st.lists(LEVELS, min_size=1, max_size=2))
def test_a_filter_that_matches_below_a_tree_reaches_it(topic_filter: str, tree: list[str], rest: list[str]) -> None:
    """So that no subscription is refused that would have received something."""
    if matches(topic_filter, "/".join([*tree, *rest])):
        assert reaches(topic_filter, "/".join(tree))


@pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a#", "#a", "+a", "a+/b", "##", "a/b#"])
def test_misplaced_wildcards_are_invalid(topic_filter: str) -> None:
    assert not is_valid(topic_filter)
