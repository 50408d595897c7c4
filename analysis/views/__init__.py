"""The views: one file for each way to show a report."""
