"""What it means: pure folds from (state, record) to (state, effects)."""
