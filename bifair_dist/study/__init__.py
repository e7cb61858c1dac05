"""Studies: many trainings compared by one rule, and what they show."""
