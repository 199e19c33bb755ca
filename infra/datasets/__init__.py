"""Snapshots on disk: made, checked, compared, made again, and what stands behind them."""
