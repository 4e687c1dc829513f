"""Public networks whose times on phones are published: what an estimate for ours leans on."""
