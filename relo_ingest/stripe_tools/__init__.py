"""``relo secret`` and ``relo stripe``: what an operator does about Stripe, beside the running service.

- ``arguments``  the command lines
- ``commands``   what each prints and exits with
- ``courier``    signs an event with the client's own secret and posts it to the ingest, like Stripe
- ``replay``     events that were exported from Stripe
- ``samples``    events of every supported type, in the shapes of old and new API versions
- ``api``        Stripe's library: the key, errors as one line, patience with rate limits
- ``endpoint``   creates the webhook endpoint in Stripe and keeps its secret
- ``reconcile``  what Stripe says happened, against what arrived
"""
