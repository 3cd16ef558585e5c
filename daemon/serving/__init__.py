"""The daemon's outward faces: HTTP, metrics, health, systemd and the control socket."""
