"""The ingest: a plain ASGI application, one file per sender.

``server``      granian's processes; ``app`` routes, start and stop: every request ends in one outcome
``script``      ``/r.js``; ``pixel`` ``/e``: beacons; ``beacon`` a beacon's fields, and the event it becomes
``links``       ``/r``, ``/c/…``: partner links; ``fallback`` where they end, ``click_cookies`` what a browser keeps
``landing``     ``/click``: links straight to the landing page
``stripe/``     ``/postback/stripe``: webhooks
``health``      ``/health/*`` and ``/metrics``; ``pages`` the demo shop and the pixel's test

What they share, made once per process (``services``):

``http``        headers, parameters, answers
``inflight``    how many requests at once, and how long a body may take; ``quota`` events a second per client
``visitor``     network and user agent of the sender; ``bots`` whether it is a person
``signals``     visitors who ask for privacy; ``pixel_cookies`` on the client's own subdomain
``privacy``     secrets and addresses in URLs; ``properties`` what has no column, made safe to store
"""
