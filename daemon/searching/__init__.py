"""``forecastd search``: what it tries, in which order, what it keeps, and how its outcome is told."""
