"""One training run: dataset, batches, the loop, checkpoints, and training by several processes."""
