"""Label image in, label image out: instances of a mask, ids over time, scores against a truth.

Arrays and data frames only: this room knows no store and no cluster.
"""
