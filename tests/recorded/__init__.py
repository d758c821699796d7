"""Ten exchanges' answers, as documentation or CCXT shows them, through the whole stack."""
