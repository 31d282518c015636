"""How fast relo_ingest is, as ratios that somebody else can measure again.

``make bench``        every question in short, about five minutes; writes RESULTS.md, results.json, the plots and the
                      headlines in README
``make bench-full``   the same with long runs: over an hour, of which the outage takes 15 minutes
``make bench-micro``  single calls alone, under pytest-benchmark
``make load``         believable traffic for a minute, and then the books: see ``traffic/``
``make profile``      where the time of a beacon goes, as a flame graph: ``profile``
``python -m bench beacon handler``  some questions; prints only

One file per question, ``bench_<question>.py``: it says what it measures and why, and its ``answers(full)`` yields
one ``Answer`` per line of the table. What they are measured against is in ``peers/``, what they share in ``harness/``:

``machine``   which cores serve and which send; CPU time and memory of a process and its children
``servers``   contenders and the product as real processes, each on a port of its own
``requests``  what is sent, byte for byte
``load``      ceilings: wrk, with the scripts of ``loads/``
``openloop``  latencies: a fixed rate, whatever the answers do
``duel``      A B A B …, medians, ratios pair by pair, and when a ratio is too noisy to be one
``versus``    the lines of the table that come of a duel under load
``micro``     single calls against their references
``watch``     a figure over time
``report``    the answer, the table, the files; ``plots`` draws what answers bring as curves

Two figures stand beside each other. Requests per second is what a user sees; on a machine that does other things
too it is noise. Requests per CPU-second of the server's own processes (utime + stime) hardly moves, so verdicts are
about that one. Server on one core, load on another; ClickHouse on a third where there is one, else beside the load,
never beside the server. At saturation p50 and p99 are queueing: they compare contenders, they promise nothing; for
what a visitor waits, see ``bench_latency``.
"""
