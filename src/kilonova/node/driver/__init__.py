"""Ports to the world (virt, net, block) and the drivers behind them; one contract suite a port."""
