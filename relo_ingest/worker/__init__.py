"""The worker: from what came in to commissions. Everything it writes can be computed again from the facts.

``loop``       the rounds, and the lease that lets one of several workers act
``lease``      who may act: a key in Redis, or a lock in the data directory
``changes``    what came in since: slices of the table ``changes``, seen twice so that nothing late is missed
``evaluate``   the steps over a batch of conversions; each is one file of ``steps/``:

    terms          what the registry said when
    touched        which conversions a slice of the changes touches
    relatives      what else the same customer paid for
    facts          the conversions as they are known now
    evidence       the person behind each, and that person's clicks
    own            the best answer of each by itself
    customer       who brought the customer before
    attribution    whose it is, and why
    rules          which rule pays
    volumes        what the partner had sold in the month before, where rules have steps
    commission     what is earned and given back, and which lines the ledger lacks
    holds          what a person should look at
    later_volumes  which sales of the month now come after another volume, where rules have steps
    write          all of that into the tables

``recompute``  the same steps over everything of a client, to compare or to correct
"""
