"""Believable traffic, and its books: what was acknowledged is in ClickHouse once, and every commission is right.

``make load``    a minute of it against the product at the configured address, or one of its own when nothing answers
                 there; other lengths and rates: ``make load LOAD_ARGS='--users 200 --page-time 0.1 --run-time 5m'``
web UI           ``.venv/bin/locust -f bench/locustfile.py --host http://127.0.0.1:4080`` beside ``make run``

``../locustfile.py``  visitors: they click, browse, and sometimes buy
``requests``          what they and Stripe send
``books``             what was promised to them, and the reconciliation
``__main__``          finds or starts the product, runs locust
"""
