"""From files of other tools to events in the log. Every adapter is a pure function: lines in, events and problems out."""
