"""Self-supervised segmentation of label-free frames: optical flow labels, Naive Bayes decides.

The method of Robitaille et al. (2022), file by file in its order; :mod:`hcs.ssl.segment` is the
recipe and the room's front door. Arrays only: this room knows no store and no cluster.
"""
