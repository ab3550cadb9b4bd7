"""From frames and an equation with a learnable term to the system behind them."""
