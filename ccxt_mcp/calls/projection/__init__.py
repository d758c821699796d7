"""CCXT's structures → results: one table of fields per structure, and nothing that is not in it.

Owns: which fields of a structure leave, in which form, and how they are described: of the market
(``market_data``, ``market_rows``) and of an account (``orders``, ``holdings``). Names are CCXT's.
Dropped: ``info`` (the exchange's raw answer) and every field that is unknown (None, NaN); a missing
field therefore means "the exchange did not say", never zero. Refuses: fetching, the size of a whole
result (``bounds.py``), and rows that say nothing: CCXT makes an order, a level or a candle of
anything that it finds in a list, and passed on they would be invented ones.

Numbers: what is the market's is a JSON number, what is an account's is an exact decimal string.
"""
