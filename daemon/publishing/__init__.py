"""How forecasts leave the house: topics, payloads and their schemas, the outbox, and the connection to the broker."""
