"""What the market did: trades to bars, bars to feature rows, rows to windows. Pure functions and records."""
