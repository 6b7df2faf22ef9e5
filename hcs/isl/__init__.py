"""In-silico labelling: networks learn a stain, nuclei or cells; the only room with torch."""
