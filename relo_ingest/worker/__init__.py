"""The worker: from conversions to commissions, in steps that are each one SQL file.

``loop``             the rounds, and the lease that lets one of several workers act
``lease``            who may act: a key in Redis, or a lock in the data directory
``attribution.sql``  which partner a conversion belongs to, and why; before it ``attribution_todo.sql``: of which
``commission.sql``   what the partner earns: accruals in the ledger; before it ``commission_todo.sql``
"""
