"""Other projects' HTTP contracts, each answered as its clients expect, all from one core call.

`registry` lists the dialects; each has a file that reads its body into a `Question` and writes its
reply. What they share: `question` (what a body asks), `exchange` (from request to reply), `verdict`
(which number a text gets, also where it can't be judged), `texts` (their forms of texts).
"""
