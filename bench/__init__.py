"""How fast relo_ingest is, as ratios that somebody else can measure again.

``make bench``        every question in short, about five minutes; writes RESULTS.md and results.json
``make bench-full``   the same with long runs
``make bench-micro``  the compiled units alone, under pytest-benchmark
``python -m bench beacon handler``  some questions; prints only

One file per question, ``bench_<question>.py``: it says what it measures and why, and its ``answers(full)`` yields
one ``Answer`` per line of the table. What the questions share is in ``harness/``:

``machine``   which cores serve and which send; CPU time and memory of a process and its children
``servers``   contenders and the product as real processes, each on a port of its own
``load``      wrk, with the scripts of ``loads/``
``duel``      A B A B …, medians, ratios pair by pair, and when a ratio is too noisy to be one
``report``    the answer, the table, the files

Two figures stand beside each other. Requests per second is what a user sees; on a machine that does other things
too it is noise. Requests per CPU-second of the server's own processes (utime + stime) hardly moves, so verdicts are
about that one. Server on one core, load on another; ClickHouse on a third where there is one, else beside the load,
never beside the server. At saturation p50 and p99 are queueing: they compare contenders, they promise nothing.
"""
