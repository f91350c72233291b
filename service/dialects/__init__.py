"""Other projects' HTTP contracts, each answered as its clients expect, all from one core call.

`registry` lists the dialects; each has a file that reads its body into a `ParsedBody` and writes
its reply. What they share: `base` (what a body asks), `handler` (from request to reply), `result`
(which number a text gets, also where it can't be scored), `texts` (their forms of texts).
"""
