"""The training report: one HTML page and its plots, from figures that a training has anyway.

`material` says what is gathered, `plots` draws it, `page` writes the HTML, `written` puts both on
the disk. Nothing here measures anything anew: every number is a held-out figure, a calibration, or
what the trainer logged.
"""
