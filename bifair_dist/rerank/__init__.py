"""Re-ranking of finished lists: what one may do without training, and what a fair training is to be compared with."""
