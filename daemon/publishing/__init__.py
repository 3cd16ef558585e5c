"""MQTT publishing: topics, payloads and their JSON Schemas, outbox, connection, publisher and embedded broker."""
