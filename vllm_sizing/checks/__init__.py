"""
An existing deployment held against a plan: what is wrong, where, and what should stand there.

Everything here is pure but `check`, which reads the files it is given and loads the model they name.
"""
