"""relo_ingest: from a click, a visit and a payment to a commission.

The path of an event, file by file; imports never go back:

1. ``ingest/server``    granian's processes; ``ingest/app`` routes a request to its handler
2. ``ingest/pixel``     a beacon · ``ingest/links`` a click · ``ingest/stripe`` a payment
3. ``events``           the row they all become
4. ``_fast/rowbinary``  its bytes, written into ``_fast/segment``, the open file: now it is acknowledged
5. ``spool/``           segments are sealed, sent, and deleted when ClickHouse has them
6. ``clickhouse/``      the client, the migrations in ``schema/``, and the ``embedded`` engine
7. ``worker/``          attribution and commission, one SQL file per step

Beside the path: ``registry`` (who the clients and partners are), ``identity`` (which device an e-mail belongs to),
``settings``, ``errors``, ``outcomes``, ``money``, ``telemetry``, ``logs``;
above it: ``supervisor`` (``relo up``), ``cli``.
"""

__version__ = "0.1.0"
