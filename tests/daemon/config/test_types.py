"""Value types of the configuration: addresses."""

from __future__ import annotations

import pytest

from daemon.config.types import listen_address


@pytest.mark.parametrize("text", ["9464", ":9464", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", "::1:9464"])
def test_an_address_that_is_not_host_and_port_is_refused(text: str) -> None:
    """The message shows a valid address."""
    with pytest.raises(ValueError, match=r"e\.g\. \"127"):
        listen_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:9464", "[::1]:0", "localhost:80"])
def test_an_address_reads_back_as_it_was_written(text: str) -> None:
    """IPv6 hosts keep their brackets."""
    assert str(listen_address(text)) == text
