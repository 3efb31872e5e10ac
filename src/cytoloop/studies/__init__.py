"""Studies: many trainings of one data set that differ in chosen factors, and what they show."""
