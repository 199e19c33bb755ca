"""Policies as events, and how they change: from a proposal to its undoing."""
