"""``relo demo``: a believable story, told to the running service through its own doors.

``people``   who clicks, browses and pays, and when
``teller``   tells it: links, beacons, webhooks
``report``   waits until the worker has settled it, and prints what came of it
"""
