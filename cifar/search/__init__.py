"""What the sweep that asks an Optuna study for its trials and the jobs that run them have in common."""
