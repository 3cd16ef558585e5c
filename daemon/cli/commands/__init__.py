"""What each command of ``forecastd`` does; ``daemon.cli`` holds their arguments."""
