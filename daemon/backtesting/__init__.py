"""What ``forecastd backtest`` plans, and how its outcome is told: a JSON document, tables, one HTML file."""
