"""``python -m daemon`` is ``forecastd``."""

from daemon.cli import main

main()
