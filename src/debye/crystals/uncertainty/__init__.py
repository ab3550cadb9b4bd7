"""How far a prediction can be trusted: expected error, intervals that hold, words of caution.

out-of-fold readings + labels → Calibration → (a prediction's readings) → Uncertainty
"""
