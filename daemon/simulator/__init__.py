"""An exchange on loopback that speaks a venue's real protocol, replays real bars, and misbehaves on request."""
