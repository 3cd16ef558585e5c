"""Training of networks: dataset, batches, training loop, checkpoints, and training by several processes."""
