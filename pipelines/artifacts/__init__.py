"""The files that cross slices: each has one type, one writer and one reader, which checks digests. Imports no step."""
