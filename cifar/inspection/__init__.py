"""What a data set has, before anything is trained."""
