"""Grafana dashboards as code: `python -m grafana.build` writes them, `python -m grafana.verify` runs their queries."""
