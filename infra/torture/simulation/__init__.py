"""The engine in a world that a seed decides: virtual time, simulated processes, a broker in memory, and every fault."""
