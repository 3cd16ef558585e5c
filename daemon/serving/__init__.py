"""The daemon's interfaces for operators: HTTP, metrics, health, systemd and the control socket."""
