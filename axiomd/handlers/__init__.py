"""Events to changes: one file a reaction. handlers/handler.py says what a handler is."""
