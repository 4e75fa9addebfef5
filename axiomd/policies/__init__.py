"""Pure decisions: data in, decision out. No async, no SQL, no clock: `now` is a parameter."""
