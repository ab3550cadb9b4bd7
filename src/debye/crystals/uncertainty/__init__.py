"""How far a prediction can be trusted: expected error, intervals that hold, words of caution.

out-of-fold head_outputs + labels → Calibration → (a prediction's head_outputs) → Uncertainty
"""
