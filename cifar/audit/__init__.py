"""Checks of a data set before a training: duplicates, wrong labels, outliers, balance, invalid and odd images."""
