"""What we think the market will do next: networks, baselines, training, artifacts and their registry."""
