"""Label images and intensities in, data frames out; every column is declared once.

Arrays and data frames only: this room knows no store and no cluster.
"""
