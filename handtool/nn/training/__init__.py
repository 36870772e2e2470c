"""How a training runs: its plan, loop, optimiser, processes, checkpoints, curve and memory."""
