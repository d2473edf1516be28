"""The printers of the built-in kinds, one file for each group of the API."""
