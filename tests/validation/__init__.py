"""
The model of speed and memory held against published measurements: `python -m tests.validation`.
"""
