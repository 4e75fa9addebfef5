"""Read-only answers for the command line, the HTTP API and MQTT: what is, as plain data."""
