"""An exchange on loopback that implements a venue's protocol, replays real bars, and injects faults on request."""
