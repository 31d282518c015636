"""``relo why``: the story of one payment, in plain sentences.

``find``     which payments an id may mean, of the payment system or ours
``facts``    everything that is known of one payment: a .sql file for each question, a Struct for each answer
``price``    what a rule makes of a payment, where the ledger has no line to tell it
``story``    the facts as sentences, one function for each part of the story
``words``    amounts, times, lists and shortened hashes as people read them
"""
