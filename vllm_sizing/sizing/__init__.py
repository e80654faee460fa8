"""
The mathematics: weights, KV cache, overhead, budget, speed, decisions; pure functions only.
"""
