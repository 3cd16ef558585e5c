"""Plan and reports of ``forecastd backtest``: a JSON document, tables, one HTML file."""
