"""From frames to the law behind them."""
