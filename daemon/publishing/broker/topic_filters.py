"""Topic filters of MQTT 3.1.1, section 4.7: validity, matching, and whether a filter reaches a tree. No I/O."""

from __future__ import annotations


def is_valid(topic_filter: str) -> bool:
    """Whether ``#`` stands alone and last, ``+`` alone in its level, and the filter is not empty."""
    levels = topic_filter.split("/")
    return bool(topic_filter) and all(
        (level == "+" or "+" not in level) and ("#" not in level or (level == "#" and place == len(levels) - 1))
        for place, level in enumerate(levels)
    )


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a valid filter matches the topic; a wildcard in the first level does not match ``$`` topics."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place == len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def reaches(topic_filter: str, tree: str) -> bool:
    """Whether a valid filter can match a topic below ``tree``; every filter reaches the empty tree."""
    if not tree:
        return True
    wanted, levels = topic_filter.split("/"), tree.split("/")
    for place, level in enumerate(wanted):
        if level == "#" or place == len(levels):
            return True
        if level not in ("+", levels[place]):
            return False
    return False
