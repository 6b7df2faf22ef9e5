"""Arrays before there are objects: one operation each."""
