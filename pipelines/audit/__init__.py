"""A run, dataset or file opened as rows, measured, told as a page, and compared with another."""
