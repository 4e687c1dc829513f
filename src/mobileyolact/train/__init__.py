"""Training: augmentation, assignment, losses, and the loop that resumes bit for bit."""
