"""What is wrong with a set-up, and what to do about it: the checks behind ``ccxt-mcp doctor``.

The way in is ``examination.examine``. Nothing here changes anything, at an exchange or on disk, and
nothing here prints.
"""
