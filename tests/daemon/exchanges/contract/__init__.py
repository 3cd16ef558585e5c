"""The contract suite: rules that every venue keeps, run over the samples of all venues."""
