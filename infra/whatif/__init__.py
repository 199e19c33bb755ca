"""What if another policy had been in force: replays of history under it, checked against what production said."""
