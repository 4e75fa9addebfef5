"""Grafana's dashboards, made by code: `python -m grafana` writes them to grafana/dashboards/, as Grafana reads them."""
