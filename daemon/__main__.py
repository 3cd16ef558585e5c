"""``python -m daemon`` is ``forecastd``."""

from daemon.early_signals import hold_reloads

hold_reloads()  # before the imports of the command line, which take a tenth of a second

from daemon.cli import main  # noqa: E402

main()
