"""Export of a finished run's model to formats that need none of this project's code."""
