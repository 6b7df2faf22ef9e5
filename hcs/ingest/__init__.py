"""Files of a microscope in, a plate out; a new vendor layout is one file more."""
