"""The spool: from an acknowledged event to ClickHouse, through files that survive a crash.

The path of a row, file by file:

``lane``       the open segment that rows are written to, and when it is sealed
``sync``       group commit: many payments wait for one fdatasync
``directory``  one directory per process, locked while it lives; those of dead processes are adopted
``flusher``    one insert per sealed segment, until ClickHouse has it; then the file is deleted
``insert``     that insert: token, time-out, compression
``failures``   what an error of it means: try again, find the bad row, wait for a person
``quarantine`` rows that ClickHouse refuses, with the reason
``spool``      all of it put together; ``inspect`` shows it to people (``relo spool``)
"""
