"""Reward models of other projects into ours and back: same weights, scores proven equal.

`layouts` tells whose checkpoint a directory is, a module for each kind reads it into a
`Source`, `target` writes it in another layout, `verify` scores probes both ways. The layouts were
read from the projects' own code that saves and loads them; docs/guides/convert.md tells which.
"""
