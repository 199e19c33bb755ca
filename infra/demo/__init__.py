"""Real data through the whole system once, and one report on it."""
