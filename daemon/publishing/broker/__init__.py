"""The embedded MQTT 3.1.1 broker: packets, topic filters, sessions, routing, and its sockets on loopback."""
