"""The live engine under fire: it is hurt on purpose, and then everything that it promises is checked."""
