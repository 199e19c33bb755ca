"""Hypothesis as these tests want it: no clock in a verdict, and few but varied histories."""

from hypothesis import settings

settings.register_profile("laws", deadline=None, max_examples=25)
settings.load_profile("laws")
