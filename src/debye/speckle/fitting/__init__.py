"""Frames and an equation with a learnable term: the law behind them."""
