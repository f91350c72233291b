"""The end of a process whose engine is dead or hangs, so that its supervisor starts another."""
