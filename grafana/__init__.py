"""The dashboards of forecastd as code: `python -m grafana.build` writes them, `python -m grafana.verify` tries them."""
