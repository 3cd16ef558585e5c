"""The implementation of each ``forecastd`` command; ``daemon.cli`` declares their arguments."""
