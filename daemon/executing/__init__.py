"""Independent tasks done elsewhere: one port, engines behind it. What is done elsewhere is not known here."""
