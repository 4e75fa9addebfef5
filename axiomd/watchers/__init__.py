"""Tables to events: one file a question asked of the tables. watchers/watcher.py says what a watcher is."""
