"""Pictures and pages: data frames and frames in, PNG bytes and HTML text out."""
