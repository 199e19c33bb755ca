"""Measurements: each prints one JSON object with ratios to a floor that was measured in the same run."""
