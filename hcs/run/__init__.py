"""Where the two halves meet: the store and the methods, one well at a time, many at once."""
