"""
Input: the only package that touches network, driver, process and, with `cli`, files.

Each adapter comes in two parts: a short function that does the I/O and a pure one that reads the
answer.  Nothing here knows what a config means; that is `architectures`.
"""
