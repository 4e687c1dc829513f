"""How long models take on this machine, stage by stage, and how much memory."""
