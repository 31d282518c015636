"""The ingest: a plain ASGI application, one file per sender.

``app``      routes, start and stop; every request ends in one outcome
``http``     bodies with a limit and a deadline, headers, answers
``pixel``    ``/r.js`` and ``/e``: beacons
``beacon``   a beacon's fields, and the event it becomes
``links``    ``/r``: partner links
``stripe``   ``/postback/stripe``: webhooks
``health``   ``/health/*`` and ``/metrics``
``pages``    the demo shop
``quota``    events a second per client
"""
