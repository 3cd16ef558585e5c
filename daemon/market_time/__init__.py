"""Market time: estimated from the clocks of the venues and the event times of their trades. No I/O."""
