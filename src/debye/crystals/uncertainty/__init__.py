"""How far a prediction may be off: expected error, intervals that hold, warnings.

out-of-fold head outputs + labels → Calibration → (a prediction's head outputs) → Uncertainty
"""
