"""Use cases on other tables than the flights, whole and short: to be read, run and copied."""
