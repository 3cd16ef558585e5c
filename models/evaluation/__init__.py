"""Walk-forward evaluation: splits, past inputs, measures with standard errors, and leak alarms."""
