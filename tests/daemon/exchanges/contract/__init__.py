"""What every venue must hold, run over the samples of all of them."""
