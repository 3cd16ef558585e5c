"""What the simulated exchange does wrong: a plan of faults, what carries it out, and a log of what was done."""
