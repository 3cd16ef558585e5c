"""Walk-forward evaluation: splits, inputs as live had them, measures with standard errors, leak alarms."""
