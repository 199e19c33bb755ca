"""The desk: hands work out, and writes who has what into the log."""
