"""The training report: one HTML page and its plots, from figures that a training has anyway.

`inputs` gathers them, `plots` draws them, `tables` and `page` write the HTML, and `writer` puts it
all on the disk. Nothing here measures anything anew: every number is a held-out figure, a
calibration, or what the trainer logged.
"""
